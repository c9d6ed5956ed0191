from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from reports import a_hostile_report, a_report

import rankscope
from rankscope.errors import CannotMeasure, DegradedWarning, UsageError
from rankscope.records import Vector
from rankscope.renderers import RENDERERS, check, load, save

if TYPE_CHECKING:
    from pathlib import Path


def test_a_saved_report_comes_back_equal(tmp_path: Path) -> None:
    for report in (a_report(), a_hostile_report()):
        report.save(tmp_path / "r.json")
        assert rankscope.load(tmp_path / "r.json") == report
        assert load(str(tmp_path / "r.json")) == report


@pytest.mark.parametrize(("suffix", "start"), [("json", "{"), ("CSV", '"stack"'), ("md", "## "), ("txt", "model")])
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str, start: str) -> None:
    path = tmp_path / f"r.{suffix}"
    save(a_report(depth=1), path)
    assert path.read_text(encoding="utf-8").startswith(start)


def test_the_suffix_beats_the_name_and_the_name_serves_where_there_is_none(tmp_path: Path) -> None:
    save(a_report(depth=1), tmp_path / "r.json", name="csv")
    save(a_report(depth=1), tmp_path / "r.data", name="csv", wide=True)
    assert (tmp_path / "r.json").read_text().startswith("{")
    assert '"rank_one_residual_unit"' in (tmp_path / "r.data").read_text().splitlines()[0]


def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no output format") as caught:
        save(a_report(depth=1), tmp_path / "r.xlsx")
    assert caught.value.code == "RS604"
    assert all(suffix in str(caught.value) for suffix in (".json", ".csv", ".md"))
    with pytest.raises(UsageError, match="did you mean  json"):
        check([tmp_path / "r.data"], "jsn")
    with pytest.raises(UsageError, match="RS601"):
        check([tmp_path / "none" / "r.json"])
    assert list(tmp_path.iterdir()) == []


def whole() -> dict:
    return a_report(depth=1).to_dict()


VECTOR = Vector("h", 0, "h.0.input", "block", "sequence", None, None, "singular_values", 1, ((3.0, 0.5), (2.0, 0.0)))


def with_spectrum(**fields: object) -> str:
    data = replace(a_report(depth=1), spectra=(VECTOR,)).to_dict()
    data["spectra"][0].update(fields)
    return json.dumps(data)


def changed(**fields: object) -> str:
    data = whole()
    data["rows"][0].update(fields)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "RS602"),
        (json.dumps(whole())[:-200], "RS602"),
        ("[1, 2]", "RS602"),
        ("{}", "RS602"),
        (json.dumps(whole() | {"schema": "rankscope.report/9"}), "RS603"),
        (json.dumps({k: v for k, v in whole().items() if k != "rows"}), "RS602"),
        (json.dumps(whole() | {"rows": [1]}), "RS602"),
        (json.dumps(whole() | {"rows": 3}), "RS602"),
        (json.dumps(whole() | {"coverage": None}), "RS602"),
        ("[" * 100_000, "RS602"),
        (changed(value="0.5"), "RS602"),
        (changed(value=None), "RS602"),
        (changed(min=float("nan")), "RS602"),
        (changed(status="fine"), "RS602"),
        (changed(layer_index="1"), "RS602"),
        (changed(layer=7), "RS602"),
        (changed(samples=["0.5"]), "RS602"),
        (with_spectrum(status="fine"), "RS602"),
        (with_spectrum(layer_index=None), "RS602"),
        (with_spectrum(error="small"), "RS602"),
        (with_spectrum(samples=[["3.0"]]), "RS602"),
        (with_spectrum(samples=[[3.0, None]]), "RS602"),
        (with_spectrum(samples=[3.0]), "RS602"),
        (with_spectrum(samples=7), "RS602"),
        (with_spectrum(samples=[None]), "RS602"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(CannotMeasure) as caught:
        load(path)
    assert caught.value.code == code
    assert caught.value.headline.startswith(str(path))
    assert len(caught.value.headline) < 600
    assert not re.search(r"\w+Error\b|__init__|NoneType|'\w+' object|indices", str(caught.value))
    assert caught.value.remedies


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        (json.dumps({k: v for k, v in whole().items() if k != "layers"}), "it holds no 'layers'"),
        (json.dumps(whole() | {"rows": 3}), "'rows' is no list"),
        (
            json.dumps(whole() | {"rows": [*whole()["rows"][:2], {"stack": "h"}]}),
            "entry 3 of 'rows': it holds no 'layer_",
        ),
        ('{\n"a": 1,\n}', "it is no JSON from line 3 on"),
        (f"<<<<<<< HEAD\n{json.dumps(whole())}", "a merge conflict was left in it"),
        ('{"schema": "rankscope.inspection/1"}', "what inspect found"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_file(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(CannotMeasure) as caught:
        load(tmp_path / "r.json")
    assert told in caught.value.headline


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(CannotMeasure, match="was not read"):
            load(path)
    (tmp_path / "b.json").write_bytes(b"\x80\x81")
    with pytest.raises(CannotMeasure, match="RS602"):
        load(tmp_path / "b.json")
    save(a_report(depth=1), tmp_path / "r.csv")
    with pytest.raises(CannotMeasure, match=r"only a report saved as \.json or \.safetensors is read back"):
        load(tmp_path / "r.csv")


def test_every_format_takes_the_hostile_report() -> None:
    assert set(RENDERERS.names()) >= {"table", "csv", "json", "jsonl", "md", "parquet"}
    for entry in RENDERERS.values():
        if entry.needs is None or importlib.util.find_spec("pyarrow"):
            assert entry.content(a_hostile_report())
        assert all(suffix.startswith(".") for suffix in entry.suffixes)
    suffixes = [suffix for entry in RENDERERS.values() for suffix in entry.suffixes]
    assert len(suffixes) == len(set(suffixes))


def test_a_report_with_spectra_comes_back_equal(tmp_path: Path) -> None:
    undefined = replace(VECTOR, layer_index=1, samples=(None, (1.0,)), status="undefined", reason="non-finite values")
    report = replace(a_report(depth=1), spectra=(VECTOR, undefined))
    save(report, tmp_path / "r.json")
    assert load(tmp_path / "r.json") == report


def test_a_format_of_rows_says_where_it_has_none_to_hold(tmp_path: Path) -> None:
    report = replace(a_report(depth=1), rows=(), spectra=(VECTOR,))
    for name in ("csv", "jsonl"):
        with pytest.warns(DegradedWarning, match=f"the {name} holds no row: what was measured, singular_values, is"):
            save(report, tmp_path / f"r.{name}")
    for name in ("json", "md", "table"):
        RENDERERS[name].text(report)  # keeps them, or shows the note
    RENDERERS["csv"].text(replace(report, spectra=()))  # nothing was measured at all
