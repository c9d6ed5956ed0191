from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pandas as pd
import pytest
from reports import HOSTILE, a_hostile_report, a_report, undefined_report

from rankscope.renderers import RENDERERS, Style

LONG, WIDE = Style(), Style(wide=True)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_golden(golden) -> None:
    report = a_report(depth=2)
    golden("long.csv", RENDERERS["csv"].text(report, LONG))
    golden("wide.csv", RENDERERS["csv"].text(report, WIDE))


def test_floats_survive_the_round_trip() -> None:
    report = a_report(depth=4)
    odd = (0.1 + 0.2, 1e-300, -2.5, 1.7976931348623157e308, 3.0)
    rows = tuple(replace(row, value=value) for row, value in zip(report.rows, odd, strict=False))
    lines = read(RENDERERS["csv"].text(replace(report, rows=rows), LONG))
    assert [float(line["value"]) for line in lines] == list(odd)
    frame = pd.read_csv(io.StringIO(RENDERERS["csv"].text(report, LONG)))
    assert list(frame["value"]) == pytest.approx([row.value for row in report.rows], rel=1e-15)
    assert list(frame.columns) == list(report.to_frame().columns)


def test_what_is_no_number_is_an_empty_cell() -> None:
    report = a_report(depth=0)
    rows = tuple(replace(row, value=math.nan, max=math.inf, status="error", reason="x") for row in report.rows)
    for line in read(RENDERERS["csv"].text(replace(report, rows=rows), LONG)):
        assert (line["value"], line["max"], line["status"]) == ("", "", "error")
    wide = read(RENDERERS["csv"].text(undefined_report(), WIDE))
    assert {line["mu"] for line in wide} == {""}
    assert len(wide) == 4


def test_hostile_names_are_one_quoted_cell_and_no_formula() -> None:
    report = a_hostile_report()
    for style, count in ((LONG, len(report.rows)), (WIDE, len(HOSTILE))):
        text = RENDERERS["csv"].text(report, style)
        lines = read(text)
        assert len(lines) == count
        assert text.count("\n") == count + 1  # no name breaks a line
        assert not any(set(line) != set(lines[0]) or None in line.values() for line in lines)
        for line in lines:
            for key in ("stack", "layer", "parameter", "reason"):
                assert not line.get(key, "").lstrip().startswith(("=", "+", "-", "@"))
        assert "'=cmd|'/c calc'!A0" in {line["layer"] for line in lines}
        assert "\x1b" not in text
        assert "\x00" not in text
    numbers = [float(line["value"]) for line in read(RENDERERS["csv"].text(report, LONG)) if line["value"]]
    assert min(numbers) < 1  # numbers are never prefixed


def test_stacks_share_the_columns_of_the_wide_table() -> None:
    report = a_report(depth=1)
    other = replace(report.rows[0], stack="encoder", measure="spectral_gap")
    lines = read(RENDERERS["csv"].text(replace(report, rows=(*report.rows, other)), WIDE))
    assert [(line["stack"], line["spectral_gap"] != "") for line in lines] == [
        ("blocks", False),
        ("blocks", False),
        ("encoder", True),
    ]
