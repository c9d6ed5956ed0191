from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from hostile import CANARY, FILES
from torch import nn

from rankscope.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def test_a_demo_is_opened_and_its_blocks_are_folded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "baseline"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "LambdaSkip, 426,048 parameters, 1.7 MB, float32 (demo)" in out
    assert "1–24  blocks.0 … blocks.23" in out


def test_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "zoo:transformer,depth=2", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "rankscope.inspection/1"
    assert [block["adds"] for block in found["stacks"][0]["blocks"]] == [2, 2]
    assert found["refusal"] is None


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_refused_file_is_described_with_the_reason_and_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = FILES[name](tmp_path)
    code = main(["inspect", str(path)])
    out, err = capsys.readouterr()
    if not path.is_file() and not path.is_dir():
        assert code == 3
        assert "a pipe or a device" in err
        return
    assert (code, err) == (0, "")
    assert out.startswith("file ")
    assert "\nloads " in out
    assert "[RS" in out
    assert not (tmp_path / CANARY).exists()


def test_no_such_file_is_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "none.pt")]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "no such file" in err


def test_flags_open_what_is_shut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nets.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(4, 4)\n")
    torch.save(nn.Linear(4, 4).state_dict(), tmp_path / "w.pt")
    arguments = ["inspect", str(tmp_path / "w.pt"), "--arch", f"{tmp_path / 'nets.py'}:net", "--random", "input=2x5x4"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "[RS3" not in out
    assert "Linear, 20 parameters" in out


def test_an_alias_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.pt").write_text("<html></html>")
    (tmp_path / "rankscope.toml").write_text('[models]\nmine = "page.pt"\n')
    assert main(["inspect", "mine"]) == 0
    assert "web page" in capsys.readouterr().out
