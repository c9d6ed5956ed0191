from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from swept import IDS, TINY, a_sweep, over_layers, searched

import rankscope
from rankscope.errors import CannotMeasure, UsageError
from rankscope.sweeps import measuring, read_sweep
from rankscope.sweeps.measuring import Measuring

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {"random": IDS, "measures": "mu_bar", "edit": "lambda_skip=1:4:4"}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The points that were measured."""
    seen: list[str] = []
    measured = measuring.measure

    def measure(source: Any, *arguments: Any) -> Any:
        seen.append(source.spec)
        return measured(source, *arguments)

    monkeypatch.setattr(measuring, "measure", measure)
    return seen


@pytest.mark.parametrize("sweep", [a_sweep(), a_sweep(lost=2), searched(), over_layers()])
def test_what_is_saved_is_read_back(tmp_path: Path, sweep: Any) -> None:
    sweep.save(tmp_path / "s.json")
    assert read_sweep(tmp_path / "s.json") == sweep


@pytest.mark.parametrize("name", ["s.json", "reports"])
def test_an_interrupted_run_goes_on(
    tmp_path: Path, name: str, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    whole = Measuring.__call__

    def breaks(self: Any, spot: Any, *arguments: Any, **options: Any) -> Any:
        if spot.edits == "lambda_skip=3":
            raise KeyboardInterrupt
        return whole(self, spot, *arguments, **options)

    monkeypatch.setattr(Measuring, "__call__", breaks)
    with pytest.raises(KeyboardInterrupt):
        rankscope.sweep(TINY, output=path, **OPTIONS)
    left = read_sweep(path if path.is_file() else path / "sweep.json")
    assert [point.values["lambda_skip"] for point in left.points] == [1.0, 2.0]
    assert left.planned == 4
    assert all(point.report for point in left.points)
    assert not [each for each in tmp_path.rglob("*") if each.is_file() and each.suffix != ".json"]
    monkeypatch.setattr(Measuring, "__call__", whole)
    counted.clear()
    found = rankscope.sweep(TINY, output=path, **OPTIONS)
    assert counted == [f"{TINY}+lambda_skip={value}" for value in (3, 4)]
    assert [note.code for note in found.notes] == ["RS476"]
    fresh = rankscope.sweep(TINY, **OPTIONS)
    assert [p.report.rows for p in found.points if p.report] == [p.report.rows for p in fresh.points if p.report]
    counted.clear()
    rankscope.sweep(TINY, output=path, **OPTIONS)
    assert counted == []
    rankscope.sweep(TINY, output=path, fresh=True, **OPTIONS)
    assert len(counted) == 5


def test_a_folder_holds_a_report_for_every_point(tmp_path: Path) -> None:
    rankscope.sweep(TINY, output=tmp_path / "r", **OPTIONS)
    names = sorted(path.name for path in (tmp_path / "r").iterdir())
    assert names == ["as_it_is.json", *(f"lambda_skip={i}.json" for i in (1, 2, 3, 4)), "sweep.json"]
    report = rankscope.load(tmp_path / "r" / "lambda_skip=2.json")
    assert report.model["spec"] == f"{TINY}+lambda_skip=2"
    index = json.loads((tmp_path / "r" / "sweep.json").read_text())
    assert [point["file"] for point in index["points"]] == [f"lambda_skip={i}.json" for i in (1, 2, 3, 4)]
    assert all(point["report"] is None for point in index["points"])


def test_names_of_files_are_safe_and_apart(tmp_path: Path) -> None:
    found = rankscope.sweep(TINY, f"{TINY},norm=post", output=tmp_path / "r", random=IDS, measures="mu_bar")
    assert len(found.points) == 2
    files = {path.name for path in (tmp_path / "r").iterdir()}
    assert len(files) == 3
    assert all("/" not in name and ":" not in name for name in files)


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"measures": "mu"}, "measures"),
        ({"random": "ids=4x17:int64:0..255"}, "inputs"),
        ({"seed": 3}, "weights"),
        ({"dtype": "float64"}, "dtype"),
    ],
)
def test_points_of_another_sweep_are_not_mixed_in(tmp_path: Path, changed: dict[str, Any], differs: str) -> None:
    path = tmp_path / "s.json"
    rankscope.sweep(TINY, output=path, **OPTIONS)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=rf"another sweep.*{differs}") as caught:
        rankscope.sweep(TINY, output=path, **{**OPTIONS, **changed})
    assert caught.value.code == "RS473"
    assert path.read_bytes() == before


def test_another_model_and_another_range(tmp_path: Path, counted: list[str]) -> None:
    path = tmp_path / "s.json"
    rankscope.sweep(TINY, output=path, **OPTIONS)
    with pytest.raises(UsageError, match="model"):
        rankscope.sweep(f"{TINY},norm=post", output=path, **OPTIONS)
    counted.clear()
    found = rankscope.sweep(TINY, output=path, **{**OPTIONS, "edit": "lambda_skip=2,4,9"})
    assert counted == [f"{TINY}+lambda_skip=9"]
    assert [point.values["lambda_skip"] for point in found.points] == [2.0, 4.0, 9.0, 1.0, 3.0]
    assert found.axes[0].values == (1.0, 2.0, 3.0, 4.0, 9.0)
    assert (found.planned, len(found.points)) == (5, 5)
    assert "2 points of an earlier run" in found.notes[1].text
    assert read_sweep(path) == found
    fresh = rankscope.sweep(TINY, output=path, fresh=True, **{**OPTIONS, "edit": "lambda_skip=2,4"})
    assert [point.values["lambda_skip"] for point in fresh.points] == [2.0, 4.0]
    assert read_sweep(path) == fresh


@pytest.mark.parametrize("name", ["s.json", "reports"])
def test_a_shorter_range_loses_no_point_whatever_is_written_to(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for edit in ("lambda_skip=-20:20:5", "lambda_skip=0:1:2", "lambda_skip=3"):
        rankscope.sweep(TINY, output=path, **{**OPTIONS, "edit": edit + (",4" if ":" not in edit else "")})
    left = read_sweep(path if path.is_file() else path / "sweep.json")
    assert sorted(p.values["lambda_skip"] for p in left.points if p.report) == [-20, -10, 0, 1, 3, 4, 10, 20]


@pytest.mark.parametrize("edit", ["lambda_skip=2,4@2", "lambda_skip=2,4+no_norm", "drop@*"])
def test_another_edit_is_another_sweep(tmp_path: Path, edit: str) -> None:
    path = tmp_path / "s.json"
    rankscope.sweep(TINY, output=path, **OPTIONS)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"edits|swept"):
        rankscope.sweep(TINY, output=path, **{**OPTIONS, "edit": edit})
    assert path.read_bytes() == before


def test_a_search_finds_the_same_beside_points_it_did_not_ask_for(tmp_path: Path) -> None:
    asked = {**OPTIONS, "edit": "lambda_skip=1:8:3", "until": "mu_bar >= 0.82 @ last"}
    alone = rankscope.sweep(TINY, **asked)
    rankscope.sweep(TINY, output=tmp_path / "s.json", **{**OPTIONS, "edit": "lambda_skip=-20:20:9"})
    found = rankscope.sweep(TINY, output=tmp_path / "s.json", **asked)
    assert alone.until is not None
    assert alone.until.value is not None
    assert found.until == alone.until
    assert {-20.0, 20.0} < {point.values["lambda_skip"] for point in found.points}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "rankscope.sweep/1"}', '{"schema": "rankscope.sweep/2"}'])
def test_what_is_no_sweep_is_neither_read_nor_written_over(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(CannotMeasure, match="is no sweep") as caught:
        rankscope.sweep(TINY, output=path, **OPTIONS)
    assert caught.value.code == "RS472"
    assert path.read_text() == text


def test_a_report_is_no_sweep_and_a_sweep_is_no_report(tmp_path: Path) -> None:
    rankscope.probe(TINY, random=IDS, measures="mu_bar").save(tmp_path / "r.json")
    with pytest.raises(CannotMeasure, match="is no sweep: a report"):
        read_sweep(tmp_path / "r.json")
    a_sweep().save(tmp_path / "s.json")
    with pytest.raises(CannotMeasure, match="a sweep"):
        rankscope.load(tmp_path / "s.json")


def test_a_file_of_the_index_cannot_lie_elsewhere(tmp_path: Path) -> None:
    rankscope.sweep(TINY, output=tmp_path / "r", **OPTIONS)
    index = tmp_path / "r" / "sweep.json"
    index.write_text(index.read_text().replace("lambda_skip=2.json", "../lambda_skip=2.json"))
    with pytest.raises(CannotMeasure, match="no name of a file beside it"):
        read_sweep(index)


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path, counted: list[str]) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "nowhere" / "s.json", tmp_path / "file" / "r"):
        with pytest.raises(UsageError, match="cannot be written"):
            rankscope.sweep(TINY, output=path, **OPTIONS)
    assert counted == []
