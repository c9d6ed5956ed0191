from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rankscope.cli import COMPLETE, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """What bash is told to complete: pairs of kind and text."""
    monkeypatch.chdir(tmp_path)

    def ask(line: str) -> list[tuple[str, str]]:
        words = line.split(" ")
        monkeypatch.setenv(COMPLETE, "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        assert main([]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return [(kind, text) for kind, _, text in (item.partition(",") for item in out.splitlines())]

    return ask


def texts(found: list[tuple[str, str]]) -> list[str]:
    return [text for kind, text in found if kind == "plain"]


def test_commands_and_options(completed) -> None:
    assert {"probe", "inspect", "report", "explain", "zoo"} <= set(texts(completed("rankscope ")))
    assert texts(completed("rankscope probe --trust")) == ["--trust", "--trust-sha256"]


def test_measures_of_a_list(completed) -> None:
    found = texts(completed("rankscope probe m --measures mu,eff"))
    assert {"mu,effective_rank", "mu,effective_rank_unit"} <= set(found)
    assert all(text.startswith("mu,eff") for text in found)
    assert "quick" in texts(completed("rankscope probe m --measures q"))


def test_models_are_files_demos_and_architectures(completed, tmp_path: Path) -> None:
    assert texts(completed("rankscope probe base")) == ["baseline"]
    (tmp_path / "base.pt").write_text("")
    (tmp_path / "basement").mkdir()
    assert texts(completed("rankscope inspect base")) == ["baseline", "base.pt", "basement/"]
    assert texts(completed("rankscope inspect zoo:t")) == ["zoo:transformer"]
    assert {"zoo:mamba", "zoo:mamba2"} <= set(texts(completed("rankscope inspect zoo:")))
    assert completed("rankscope probe nothing") == [("file", "nothing")]
    assert completed("rankscope probe no/such/folder/b") == [("file", "no/such/folder/b")]


def test_formats_topics_and_architectures(completed) -> None:
    assert texts(completed("rankscope report r.json --format j")) == ["json", "jsonl"]
    assert texts(completed("rankscope compare a.json --format j")) == ["json"]
    assert texts(completed("rankscope check r.json --format j")) == ["json", "junit"]
    assert texts(completed("rankscope explain RS30")) == sorted(texts(completed("rankscope explain RS30")))
    assert "RS301" in texts(completed("rankscope explain RS30"))
    assert texts(completed("rankscope explain doubl")) == ["doubly_exponential"]
    assert texts(completed("rankscope zoo tr")) == ["transformer"]
    assert completed("rankscope report r") == [("file", "r")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("click asks bash for its version, and there is none")
    environment = {**os.environ, COMPLETE: f"{shell}_source"}
    line = [sys.executable, "-m", "rankscope"]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert f"{shell}_complete" in done.stdout
    assert "rankscope" in done.stdout


def test_nothing_heavy_is_loaded() -> None:
    script = (
        "import sys; from rankscope.cli import main; code = main([]); "
        "print(sorted({'torch', 'pandas', 'scipy', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    for words in ("explain mu", "probe --measures mu", "probe base", "zoo t"):
        line = f"rankscope {words}"
        asked = {COMPLETE: "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, **asked},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout
        assert done.stderr == "[]\n"
