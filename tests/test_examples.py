"""The scripts of examples/ run as they stand."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def test_every_example_has_a_test():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"side_by_side.py"}


def test_side_by_side(monkeypatch, capsys):
    models = [f"zoo:transformer,depth=3,width=16,norm={norm}" for norm in ("pre", "post")]
    monkeypatch.setattr(sys, "argv", ["side_by_side.py", *models])
    monkeypatch.setenv("COLUMNS", "200")
    runpy.run_path(str(EXAMPLES / "side_by_side.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "on the same inputs" in out
    assert out.count("zoo:transformer,depth=3,width=16,norm=pre") == 2
    assert "A  zoo:transformer,depth=3,width=16,norm=pre: healthy" in out


@pytest.mark.slow
def test_side_by_side_as_typed():
    done = subprocess.run([sys.executable, EXAMPLES / "side_by_side.py"], capture_output=True, text=True, check=True)
    assert "baseline: collapsed" in done.stdout
    assert "lambda-skip: healthy" in done.stdout
