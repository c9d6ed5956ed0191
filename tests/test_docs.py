"""The documentation holds: generated pages are fresh, links resolve, what the README types exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from rankscope.cli._command import Commands

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BENCHMARK = {"--assert", "--json"}  # flags of `python -m benchmarks`
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(text: str) -> set[str]:
    """The anchors that a forge gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    text = page.read_text(encoding="utf-8")
    dead = []
    for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(link)
    return dead


def blocks(page: Path, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def typed(page: Path) -> list[str]:
    """Command lines of a page: those of its shell blocks, and those in backticks."""
    text = page.read_text(encoding="utf-8")
    lines = [
        line.removeprefix("$ ") for body in blocks(page, "", "sh", "bash", "console") for line in body.splitlines()
    ]
    return lines + re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


@pytest.mark.parametrize(
    "name",
    [
        "edits.md",
        "errors.md",
        "measures.md",
        "options.md",
        "report.md",
        "comparison.md",
        "certificate.md",
        "findings.md",
        "sweep.md",
    ],
)
def test_generated_pages_are_fresh(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == generator().PAGES[name](), "run `make docs`"


def test_every_generated_page_is_tested() -> None:
    made = [page.name for page in PAGES if "Made by docs/generate.py" in page.read_text(encoding="utf-8")]
    assert made == sorted(generator().PAGES)


def test_the_generator_sees_an_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = generator()
    monkeypatch.setattr(module, "DOCS", tmp_path)
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    assert module.main() == 1
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("sys.argv", ["generate.py"])
    assert module.main() == 0
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    assert module.main() == 0
    (tmp_path / "errors.md").write_text("old")
    assert module.main() == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_caught(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One two\n[a](#one-two) [b](#three) [c](missing.md) [d](https://example.org) [e](page.md#one-two)"
    )
    assert dead_links(page) == ["#three", "missing.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_compile(page: Path) -> None:
    for body in blocks(page, "python", "py"):
        compile(body, str(page), "exec")


@pytest.mark.parametrize(
    "name", ["README.md", "docs/index.md", "docs/compare-two-models.md", "docs/edits.md", "docs/look-at-a-report.md"]
)
def test_python_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bodies = blocks(ROOT / name, "python")
    assert bodies
    for body in bodies:
        exec(compile(body, name, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {word for line in typed(page) for word in re.findall(r"^make (?:[A-Z]+=\S+ )*([a-z-]+)", line)}
    assert asked <= targets


def unknown_words(line: str) -> list[str]:
    """Commands and options in a `rankscope …` line that do not exist."""
    commands = Commands("rankscope")
    context = click.Context(commands)
    wrong = []
    for call in re.findall(r"(?:^|[;&|] *|\$\()rankscope((?: [^;&|)]*)?)", line):
        words = [word.split("=")[0] for word in call.split()]
        name = next((word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)), None)
        command = commands.get_command(context, name) if name else commands
        if command is None:
            wrong.append(str(name))
            continue
        options = {option for parameter in command.get_params(context) for option in parameter.opts}
        wrong += [word for word in words if re.match(r"--?[a-z]", word) and word not in options]
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path) -> None:
    assert [(line, wrong) for line in typed(page) if (wrong := unknown_words(line))] == []


def known_options() -> set[str]:
    """The options of all commands together."""
    commands = Commands("rankscope")
    context = click.Context(commands)
    found = [commands.get_command(context, name) for name in commands.list_commands(context)]
    return {option for each in [commands, *found] if each for part in each.get_params(context) for option in part.opts}


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_options_named_by_themselves_exist(page: Path) -> None:
    asked = {word for line in typed(page) for word in re.findall(r"^(--[a-z][a-z0-9-]*)", line)}
    assert asked - BENCHMARK <= known_options()


def test_an_unknown_option_is_caught() -> None:
    assert unknown_words("rankscope probe model.pt --measures mu -o r.json && rankscope --version") == []
    assert unknown_words("rankscope probe model.pt --measure mu | rankscope prob x") == ["--measure", "prob"]
