from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from chromium import BROWSER, DRIVER

ROOT = Path(__file__).resolve().parent.parent


def test_hook_overhead_gives_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    command = (
        "hook_overhead.py --model zoo:transformer,depth=2,width=16,heads=2 --random ids=2x8:int64:0..255 --repeats 2"
    )
    monkeypatch.setattr(sys, "argv", [*command.split(), "--measures", "mu_bar", "--out", str(out)])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / "benchmarks" / "hook_overhead.py"), run_name="__main__")
    assert done.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == result
    assert (result["layers"], result["tokens"], result["repeats"]) == (3, 16, 2)
    assert result["ratio"] == result["probe_s"]["median"] / result["plain_s"]["median"] > 0


def test_the_pages_are_made_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["html_page.py", "--depth", "2", "--repeats", "1", "--out", str(out)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / "benchmarks" / "html_page.py"), run_name="__main__")
    assert done.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == result
    assert (result["layers"], result["models"]) == (2, 3)
    assert set(result["pages"]) == {"reports", "comparison", "findings"}
    for page in result["pages"].values():
        assert page["bytes"] > 10_000
        assert page["page_s"]["median"] > 0
        if BROWSER and DRIVER:
            assert page["browser"]["first_paint_s"] > 0
