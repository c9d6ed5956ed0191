"""The lines of docs/cli.md that need no file of the reader's own run as they are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rankscope.cli import main
from rankscope.config import read

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
LINES = re.findall(r"^(?:\$ )?rankscope (.+)$", PAGE, re.MULTILINE)
ALONE = [line for line in LINES if line.split()[0] in {"explain", "zoo"} or line == "inspect baseline"]


@pytest.mark.parametrize("line", ALONE)
def test_it_runs(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(line)) == 0
    assert capsys.readouterr().out


def test_every_command_has_an_example() -> None:
    folder = Path(main.__code__.co_filename).parent
    commands = {path.stem for path in folder.glob("*.py") if not path.name.startswith("_")}
    assert commands == {line.split()[0] for line in LINES}
    assert len(ALONE) > 6


def test_what_inspect_shows_is_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "baseline"]) == 0
    shown = capsys.readouterr().out
    block = PAGE.partition("$ rankscope inspect baseline\n")[2].partition("```")[0]
    assert all(line in shown for line in block.splitlines() if line != "…")


def test_the_configuration_on_the_page_is_read(tmp_path: Path) -> None:
    (tmp_path / "rankscope.toml").write_text(
        PAGE.partition("## Configuration")[2].partition("```toml\n")[2].partition("```")[0], encoding="utf-8"
    )
    assert read(tmp_path / "rankscope.toml").models == {
        "small": "zoo:transformer,depth=6,seed=1",
        "ours": "runs/last.pt",
    }
