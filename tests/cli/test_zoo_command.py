from __future__ import annotations

import json
from typing import TYPE_CHECKING

import rankscope
from rankscope.cli import main
from rankscope.zoo import ARCHITECTURES, demos

if TYPE_CHECKING:
    import pytest


def test_all_architectures_and_demos_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    flat = " ".join(out.split())
    for name, entry in ARCHITECTURES._walk().items():
        assert f"zoo:{name}" in out
        assert entry.claim in flat
        assert entry.paper in flat
    assert all(f"\n{name} " in out for name in demos())
    assert "lam=1" in out


def test_names_alone_can_be_probed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "--names"]) == 0
    specs = capsys.readouterr().out.splitlines()
    assert specs == [*(f"zoo:{name}" for name in sorted(ARCHITECTURES.names())), *demos()]
    assert specs == [entry.spec for entry in rankscope.list_zoo()]


def test_one_entry_shows_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ARCHITECTURES.names():
        assert main(["zoo", f"zoo:{name}"]) == 0
        out = capsys.readouterr().out
        assert all(f"\n{option} " in out for option in (*ARCHITECTURES[name].options, "seed"))
        assert f"rankscope probe zoo:{name}," in out
    assert main(["zoo", "baseline"]) == 0
    assert "nats a byte" in capsys.readouterr().out


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "--format", "json"]) == 0
    (entry, *_) = json.loads(capsys.readouterr().out)
    assert entry["kind"] == "architecture"
    assert entry["options"][0].keys() == {"name", "default", "values", "meaning"}


def test_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "transfomer"]) == 2
    assert "transformer" in capsys.readouterr().err
