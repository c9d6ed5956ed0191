"""A comparison as a table, JSON, CSV and Markdown: all of it is told, in any width, and no name breaks out."""

from __future__ import annotations

import copy
import csv
import io
import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from reports import HOSTILE, a_hostile_report, a_report, undefined_report
from schemas import closed

import rankscope
from rankscope.comparison import Comparison, Difference, First, Match, Pair
from rankscope.records import Layer, Note, Report
from rankscope.renderers import COMPARISONS, Style

SCHEMA = json.loads((Path(rankscope.__file__).with_name("comparison.schema.json")).read_text(encoding="utf-8"))
READER = jsonschema.Draft202012Validator(SCHEMA)
FORMATS = ("table", "json", "csv", "md")


WRITER = jsonschema.Draft202012Validator(closed(SCHEMA))


def with_samples(report: Report, scale: float = 1.0, start: int = 0) -> Report:
    """The report with eight samples a row; from a layer on they are scaled."""
    rows = []
    for row in report.rows:
        if row.value is not None and row.scope == "sequence":
            value = row.value * (scale if row.layer_index >= start else 1.0)
            spread = tuple(value * (1 + 1e-4 * (i - 3.5)) for i in range(8))
            row = replace(row, value=value, samples=spread)
        rows.append(row)
    return replace(report, rows=tuple(rows))


def compared(depth: int = 12, models: int = 2) -> Comparison:
    reports = [with_samples(a_report(depth), 1 - 0.1 * i, start=5) for i in range(models)]
    return rankscope.compare(*reports)


def hostile() -> Comparison:
    other = with_samples(a_hostile_report(), 0.5)
    return rankscope.compare(with_samples(a_hostile_report()), replace(other, layers=other.layers[:-2]), align="name")


def undefined() -> Comparison:
    return rankscope.compare(undefined_report(), undefined_report())


CASES = {"plain": compared, "hostile": hostile, "undefined": undefined, "three": lambda: compared(models=3)}


@pytest.mark.parametrize("name", CASES)
def test_json_keeps_to_its_schema(name: str) -> None:
    found = CASES[name]()
    WRITER.validate(json.loads(COMPARISONS["json"].text(found)))
    WRITER.validate(found.to_dict())


BREAKS = {
    "schema": lambda d: d.update(schema="rankscope.comparison/2"),
    "one": lambda d: d.update(subjects=d["subjects"][:1]),
    "no pair": lambda d: d.update(pairs=[]),
    "outcome": lambda d: d["pairs"][0]["differences"][0].update(outcome="better"),
    "number": lambda d: d["pairs"][0]["differences"][0].update(difference="0.1"),
    "chance": lambda d: d["pairs"][0]["differences"][0].update(p=2),
    "missing": lambda d: d["pairs"][0].pop("unmatched_other"),
    "first": lambda d: d["pairs"][0].update(first={"layer": "x"}),
    "time": lambda d: d["subjects"][0].update(forward_seconds=-1),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_does_not_validate(name: str) -> None:
    data = copy.deepcopy(compared(6).to_dict())
    READER.validate(data)
    BREAKS[name](data)
    with pytest.raises(jsonschema.ValidationError):
        READER.validate(data)


@pytest.mark.parametrize(
    ("name", "record"),
    [("pair", Pair), ("difference", Difference), ("match", Match), ("first", First), ("layer", Layer), ("note", Note)],
)
def test_the_schema_tells_every_field(name: str, record: Any) -> None:
    assert list(SCHEMA["$defs"][name]["properties"]) == [field.name for field in fields(record)]


def test_csv_holds_every_difference_and_reads_back_to_the_same_floats() -> None:
    found = hostile()
    lines = list(csv.DictReader(io.StringIO(COMPARISONS["csv"].text(found))))
    (pair,) = found.pairs
    matched = [line for line in lines if line["outcome"] != "unmatched"]
    assert len(matched) == len(pair.differences)
    assert len(lines) - len(matched) == len(pair.unmatched_reference) + len(pair.unmatched_other) == 2
    for line, entry in zip(matched, pair.differences, strict=True):
        assert (float(line["difference"]) if line["difference"] else None) == entry.difference
        assert (float(line["p"]) if line["p"] else None) == entry.p
        assert line["outcome"] == entry.outcome
    assert all(not line[name].startswith(("=", "+", "-", "@")) for line in lines for name in ("layer", "other_layer"))


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize(("depth", "models"), [(12, 2), (12, 5), (96, 2), (96, 5)])
def test_the_table_fits_the_screen(columns: int, depth: int, models: int) -> None:
    found = compared(depth, models)
    text = COMPARISONS["table"].text(found, Style(columns=columns))
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) < 60 + 25 * models
    assert " ".join(found.sentence.split()) in " ".join(text.split())
    for name in ("blocks.0.input", "blocks.4", f"blocks.{depth - 1}"):
        assert any(line.split()[1:2] == [name] for line in lines), name
    assert ("more layers" in text) == (depth == 96)


def test_every_layer_and_measure_is_shown_when_asked() -> None:
    found = compared(96)
    text = COMPARISONS["table"].text(found, Style(columns=80, every=True))
    assert sum(line.split()[:2] == ["50", "blocks.49"] for line in text.splitlines()) >= 4
    assert "more layers" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_signs_say_what_differs() -> None:
    text = COMPARISONS["table"].text(compared(6), Style(columns=120))
    rows = {line.split()[1]: line.split() for line in text.splitlines() if line.split()[1:2]}
    assert rows["blocks.3"][3].endswith("=")
    assert rows["blocks.4"][3].endswith("↓")
    assert "↑ ↓" in text
    plain = COMPARISONS["table"].text(compared(6), Style(columns=120, unicode=False))
    assert plain.isascii()
    assert "^ v" in plain


def test_what_stands_alone_is_listed_in_every_format() -> None:
    longer = with_samples(a_report(8))
    found = rankscope.compare(with_samples(a_report(6)), longer, longer)
    assert [layer.name for layer in found.pairs[1].unmatched_other] == ["blocks.6", "blocks.7"]
    for name in FORMATS:
        text = COMPARISONS[name].text(found)
        assert "blocks.6" in text.replace("`", "")
        assert "blocks.7" in text


def test_a_measure_that_one_lacks_is_told() -> None:
    less = with_samples(a_report(4))
    less = replace(less, rows=tuple(row for row in less.rows if row.measure != "stable_rank"))
    for name in ("table", "md"):
        text = COMPARISONS[name].text(rankscope.compare(with_samples(a_report(4)), less)).replace("&#95;", "_")
        assert "stable_rank: the other: not measured" in text


@pytest.mark.parametrize("name", FORMATS)
def test_hostile_names_break_nothing(name: str) -> None:
    found = hostile()
    text = COMPARISONS[name].text(found)
    assert "\x1b" not in text
    assert "\x00" not in text
    if name == "md":
        assert "<script" not in text
        assert "<b>" not in text
    if name == "json":
        kept = {match["reference"]["name"] for match in json.loads(text)["pairs"][0]["matches"]}
        assert kept <= set(HOSTILE)
        assert len(kept) == len(HOSTILE) - 2


@pytest.mark.parametrize("name", ["table", "md"])
def test_nothing_to_tell_is_told(name: str) -> None:
    assert "they have no number in common" in COMPARISONS[name].text(undefined())


def test_saving_writes_by_the_suffix(tmp_path: Path) -> None:
    found = compared(2)
    for suffix in (".json", ".csv", ".md", ".txt"):
        path = tmp_path / f"side{suffix}"
        found.save(path)
        assert path.stat().st_size > 500


def nan_from(report: Report, first: int) -> Report:
    """The report without numbers from a layer on."""
    lost = {"value": None, "samples": (), "status": "undefined", "reason": "non-finite values"}
    return replace(report, rows=tuple(replace(r, **lost) if r.layer_index >= first else r for r in report.rows))


def with_nan() -> Comparison:
    report = with_samples(a_report(6))
    return rankscope.compare(report, nan_from(report, 4))


CASES["missing"] = with_nan


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_number_has_its_reason_in_every_format(name: str) -> None:
    text = " ".join(COMPARISONS[name].text(with_nan()).split())
    assert "non-finite values" in text
    assert "B has no numbers from blocks.3 on (non-finite values)" in text or name == "csv"
    if name in {"table", "md"}:
        assert "—¹" in text
        assert "¹ non-finite values" in text


def test_no_cell_is_a_silent_gap() -> None:
    text = COMPARISONS["table"].text(with_nan(), Style(columns=200, every=True))
    layer = next(line for line in text.splitlines() if line.split()[1:2] == ["blocks.4"])
    assert layer.count("—¹") > 3
    last = next(line.split() for line in text.splitlines() if line.startswith("rank_one_residual_unit"))
    report = a_report(6)
    value = next(r.value for r in report.rows if (r.measure, r.layer_index) == ("rank_one_residual_unit", 6))
    assert value is not None
    assert last[1:3] == [f"{value:.3f}", "—¹"]
    assert " ".join(last).endswith("no number in B at blocks.3")
    ascii_text = COMPARISONS["table"].text(with_nan(), Style(columns=120, unicode=False))
    assert "--[1]" in ascii_text
    assert ascii_text.isascii()


def test_json_names_what_is_missing() -> None:
    (gap,) = json.loads(COMPARISONS["json"].text(with_nan()))["pairs"][0]["missing"]
    assert (gap["model"], gap["layer"], gap["reason"]) == ("B", "blocks.3", "non-finite values")


def test_the_last_of_each_is_its_own_last() -> None:
    report = with_samples(a_report(6))
    short = replace(
        report,
        rows=tuple(row for row in report.rows if row.layer_index < 6),
        layers=tuple(layer for layer in report.layers if layer.index < 6),
    )
    values = {r.layer_index: r.value for r in report.rows if r.measure == "rank_one_residual_unit"}
    text = COMPARISONS["table"].text(rankscope.compare(report, short), Style(columns=120))
    line = next(line.split() for line in text.splitlines() if line.startswith("rank_one_residual_unit"))
    assert line[1:] == [f"{values[6]:.3f}", f"{values[5]:.3f}", "—¹", "—¹", "—¹", "nowhere"]
    assert "¹   the last layers do not stand beside each other" in text or "¹  the last layers do not" in text


def at_the_floor(scale: float) -> Report:
    """A report whose last layer is at the noise floor of mu_bar."""
    report = with_samples(a_report(4))
    rows = []
    for row in report.rows:
        if row.measure in {"mu_bar", "mu"} and row.layer_index == 4:
            value = scale * (1e-8 if row.measure == "mu_bar" else 1e-6)
            row = replace(row, value=value, samples=tuple(value * (i + 1) for i in range(8)))
        rows.append(row)
    return replace(report, rows=tuple(rows))


def test_what_is_at_the_floor_is_marked_and_gives_no_ratio() -> None:
    for found, floor in (
        (rankscope.compare(at_the_floor(1), with_samples(a_report(4))), "reference"),
        (rankscope.compare(with_samples(a_report(4)), at_the_floor(1)), "other"),
        (rankscope.compare(at_the_floor(1), at_the_floor(3)), "both"),
    ):
        entries = {e.measure: e for e in found.pairs[0].differences if e.layer_index == 4}
        for measure in ("mu_bar", "mu"):
            assert (entries[measure].at_floor, entries[measure].ratio) == (floor, None)
        assert entries["stable_rank"].at_floor is None
        for name, style in (("table", Style(columns=120)), ("md", Style())):
            text = COMPARISONS[name].text(found, style).replace("&#95;", "_")
            line = next(line for line in text.splitlines() if line.replace("`", "").lstrip("| ").startswith("mu_bar "))
            assert "≤" in line, line
            assert "—" in line
            assert "at or below the noise floor" in text


def test_the_difference_lies_in_the_interval_that_is_shown() -> None:
    from rankscope.renderers._comparison_end import spread

    entry = compared(4).pairs[0].differences[0]
    for low, middle, high in ((-0.17612, -0.17604, -0.17601), (1.00001, 1.00002, 1.00003), (-1e-9, 2e-9, 3e-7)):
        texts = spread(replace(entry, low=low, difference=middle, high=high))
        a, b, c = map(float, texts)
        assert a < b < c


def test_where_a_measure_parts_within_noise_is_named() -> None:
    report = with_samples(a_report(6))

    def wild(row: Any) -> Any:
        if row.scope != "sequence" or row.value is None or row.layer_index < 4 or row.measure != "mu_bar":
            return row
        samples = tuple(row.value * (1 + (0.1 if i % 2 else -0.1)) for i in range(8))
        return replace(row, value=row.value * 1.001, samples=samples)

    found = rankscope.compare(report, replace(report, rows=tuple(map(wild, report.rows))))
    text = COMPARISONS["table"].text(found, Style(columns=160))
    line = next(line for line in text.splitlines() if line.startswith("mu_bar "))
    assert line.endswith("unequal from blocks.3, within noise")
    assert "within noise" in next(line for line in text.splitlines() if line.startswith("≈"))
    assert next(line for line in text.splitlines() if line.startswith("stable_rank ")).endswith("nowhere")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("models", [2, 5])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_number_is_cut_into_another(columns: int, models: int, unicode: bool) -> None:
    reports = [with_samples(a_report(12), 1 - 0.1 * i, start=5) for i in range(models)]
    reports[-1] = nan_from(reports[-1], 9)
    found = rankscope.compare(*reports)
    whole = set(COMPARISONS["table"].text(found, Style(columns=1000, every=True, unicode=unicode)).split())
    for every in (False, True):
        text = COMPARISONS["table"].text(found, Style(columns=columns, every=every, unicode=unicode))
        assert max(map(len, text.splitlines())) <= columns
        numbers = {word for word in text.split() if re.match(r"[-+≤<]?\d", word)}
        assert numbers - whole == set()
        assert not any(line.split()[:1] in (["put"], ["t"]) for line in text.splitlines())


def test_a_narrow_screen_shows_every_model_of_the_first_measure() -> None:
    text = COMPARISONS["table"].text(compared(4, 6), Style(columns=40))
    heads = [line.split()[2:] for line in text.splitlines() if line.split()[:2] == ["k", "layer"]]
    assert {letter for head in heads for letter in head} == set("ABCDEF")


def test_csv_tells_subjects_apart() -> None:
    lines = list(csv.DictReader(io.StringIO(COMPARISONS["csv"].text(compared(2, 3)))))
    assert {(line["reference_letter"], line["other_letter"]) for line in lines} == {("A", "B"), ("A", "C")}


def test_a_comparison_is_a_frame_a_fragment_and_a_short_line() -> None:
    found = with_nan()
    frame = found.to_frame()
    assert len(frame) == sum(len(pair.differences) for pair in found.pairs)
    assert list(frame.columns[:2]) == ["reference_letter", "other_letter"]
    html = hostile()._repr_html_()
    assert html.count("<div") == 1
    assert "<script" not in html
    assert "non-finite values" in found._repr_html_()
    assert repr(found) == "<Comparison 'model.pt' vs 'model.pt': B lacks numbers at blocks.3>"
    assert repr(compared(6)) == "<Comparison 'model.pt' vs 'model.pt': B differs at blocks.4>"
    assert len(repr(compared(2, 6))) < 200
    same = rankscope.compare(a_report(2), a_report(2))
    assert repr(same).endswith("B equal>")


def test_the_page_has_the_words_of_the_table() -> None:
    text = COMPARISONS["html"].text(with_nan())
    assert "— (non-finite values)" in text
    assert ">no number<" in text
    several = COMPARISONS["html"].text(compared(6, 3))
    assert "A and C: they differ first at " in several
    report = with_samples(a_report(4))
    rows = []
    for row in report.rows:
        if row.measure == "rank_one_residual_unit" and row.value is not None:
            row = replace(row, samples=tuple(row.value * (1 + (0.1 if i % 2 else -0.1)) for i in range(8)))
        rows.append(row)
    assert ">within noise<" in COMPARISONS["html"].text(rankscope.compare(report, replace(report, rows=tuple(rows))))
