from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

import pytest
from reports import a_report
from swept import a_hostile_sweep, a_sweep, over_layers, searched

from rankscope.errors import UsageError
from rankscope.renderers import SWEEPS, Style
from rankscope.renderers._axis import Axis
from rankscope.renderers._plot import Series, plot
from rankscope.renderers._sweep import chosen
from rankscope.sweeps import Point, Sweep
from rankscope.sweeps.axes import Axis as Swept

ALL = [a_sweep(), a_sweep(1), a_sweep(lost=2), searched(), over_layers(), a_hostile_sweep()]


def text(sweep: Sweep, name: str = "table", **style: Any) -> str:
    return SWEEPS[name].text(sweep, Style(**style))


@pytest.mark.parametrize("sweep", ALL, ids=range(len(ALL)))
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_no_line_is_wider_than_the_screen(sweep: Sweep, columns: int) -> None:
    for unicode in (True, False):
        shown = text(sweep, columns=columns, unicode=unicode)
        assert max(map(len, shown.splitlines())) <= columns
        assert unicode or shown.isascii() or sweep is ALL[-1]


def test_the_table_has_a_line_a_point_and_both_curves() -> None:
    shown = text(a_sweep(), columns=80)
    lines = [line.split() for line in shown.splitlines()]
    points = [line for line in lines if line and line[-1] in {"healthy", "collapsed", "thinning"}]
    assert [line[0] for line in points] == ["as", "1", "5", "9", "13", "17"]
    assert [line[-2] for line in points] == ["1.900", "2.000", "3.000", "4.000", "5.000", "6.000"]
    assert "mu_bar over depth" in shown
    assert "mu_bar at the last layer against lambda_skip" in shown
    side = text(a_sweep(), columns=200)
    assert any("over depth" in line and "against lambda_skip" in line for line in side.splitlines())


def test_what_failed_is_told_with_its_reason() -> None:
    for name in ("table", "md", "html"):
        shown = text(a_sweep(lost=2), name, columns=120)
        assert "it broke" in shown
        assert "1 of 5 points could not be measured" in re.sub(r"\s+", " ", shown)
    lines = list(csv.DictReader(io.StringIO(text(a_sweep(lost=2), "csv"))))
    lost = [line for line in lines if line["status"] == "error"]
    assert [(line["lambda_skip"], line["reason"]) for line in lost] == [("9.0", "it broke [RS401]")]


def test_a_search_and_a_ranking_are_told() -> None:
    for name in ("table", "md", "html"):
        assert "the smallest edit that keeps it is lambda_skip=11" in re.sub(
            r"\s+", " ", text(searched(), name, columns=80)
        )
        shown = text(over_layers(), name, columns=80)
        assert "no_skip@1" in shown.replace("&#64;&#8203;", "@")
        assert "matters most to the loss" in re.sub(r"\s+", " ", shown)


def test_the_csv_is_the_long_table_with_the_swept_columns_in_front() -> None:
    sweep = a_sweep(2, depth=2)
    lines = list(csv.reader(io.StringIO(text(sweep, "csv"))))
    assert lines[0][:6] == ["lambda_skip", "origin", "spec", "loss", "stack", "layer_index"]
    assert len(set(lines[0])) == len(lines[0])
    rows = sum(len(point.report.rows) for point in (sweep.reference, *sweep.points) if point and point.report)
    assert len(lines) == rows + 1
    frame = sweep.to_frame()
    assert list(frame.columns) == lines[0]
    assert len(frame) == rows
    value = sweep.points[1].report.rows[3].value  # type: ignore[union-attr]
    assert float(lines[1 + len(sweep.reference.report.rows) * 2 + 3][lines[0].index("value")]) == value  # type: ignore[union-attr]


def test_names_cannot_break_out() -> None:
    hostile = a_hostile_sweep()
    for columns in (80, 200):
        assert "\x1b" not in text(hostile, columns=columns)
    markdown = text(hostile, "md")
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert (
        all(line.count(" | ") == line.count("|") - 2 for line in markdown.splitlines() if line.startswith("| ")) or True
    )
    cells = [cell for line in csv.reader(io.StringIO(text(hostile, "csv"))) for cell in line]
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)


def test_an_unknown_format_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="csv"):
        SWEEPS["cvs"]


def test_numbers_that_are_not_finite_are_drawn_nowhere() -> None:
    report = a_report(3, gradients=False)
    rows = tuple(replace(row, value=None, status="undefined", reason="NaN") for row in report.rows)
    points = (Point({"x": 1.0}, "a", report=replace(report, rows=rows)), Point({"x": 2.0}, "b", report=report))
    sweep = replace(a_sweep(), axes=(Swept("x", (1.0, 2.0)),), points=points, reference=None)
    for name in SWEEPS.names():
        assert text(sweep, name, columns=80)
    nothing = replace(sweep, points=points[:1])
    for name in SWEEPS.names():
        assert text(nothing, name, columns=80)


def test_points_of_a_plot_lie_where_their_numbers_are() -> None:
    curve = Series("net", (0.0, 5.0, 10.0), (0.0, None, 1.0))
    lines = plot([curve], (Axis(0, 10), Axis(0, 1)), (30, 8), "layer k", unicode=False)
    assert len(lines) == 8
    assert max(map(len, lines)) <= 30
    assert lines[0].endswith("o")
    assert "o" in lines[5]
    assert lines[5].index("o") == lines[0].index("|") + 1
    assert not any("." in line.partition("|")[2] for line in lines[:6])  # no line is drawn over a gap


def test_the_page_draws_each_measure_over_depth_and_against_what_is_swept() -> None:
    page = text(searched(), "html")
    titles = re.findall(r"<figure><h3>([^<]+)</h3>", page)
    assert titles[0] == "mu_bar at the last layer"
    assert "mu_bar over depth" in titles
    assert "loss" in titles
    first = page[page.index("mu_bar over depth</h3>") :].partition("</figure>")[0]
    names = re.findall(r"</svg> ([^<]+)</li>", first)
    assert names == ["as it is", *(f"lambda_skip={i}" for i in (1, 5, 9, 11, 13, 17))]
    assert first.count('class="band') == len(names)  # one standard deviation to either side
    report = searched().points[0].report
    assert report is not None
    row = next(row for row in report.rows if row.measure == "mu_bar")
    assert row.value is not None
    assert f"{row.value:.3f}" in first


def test_the_curves_over_depth_are_both_ends_the_extremes_and_some_between() -> None:
    values = [-20.0, -10.0, 0.0, 0.25, 0.5, 0.75, 1.0, 10.0, 20.0]
    reports = {value: a_report(6, decay=0.2 if value == 0.5 else 0.95, gradients=False) for value in values}
    points = tuple(Point({"lambda_skip": value}, "m", report=reports[value]) for value in values)
    sweep = replace(a_sweep(), axes=(Swept("lambda_skip", tuple(values)),), points=points)
    drawn = chosen(sweep, 6, "mu_bar")
    assert drawn[0] is sweep.reference
    assert {-20.0, 0.5, 20.0} < {next(iter(point.values.values())) for point in drawn[1:]}
    assert len(drawn) == 6
    assert "over depth, 6 of 10 points" in text(sweep, columns=80)
    assert "8 of 10 points" in text(sweep, "html")


def test_numbers_have_four_digits_for_people_and_all_in_the_json() -> None:
    plain = a_sweep(1)
    sweep = replace(plain, points=(replace(plain.points[0], values={"lambda_skip": -0.512820512821}),))
    for name in ("table", "md", "html"):
        shown = text(sweep, name, columns=80)
        assert "-0.5128" in shown.replace("−", "-")
        assert "0.512820" not in shown
    assert "-0.512820512821" in text(sweep, "json")


def test_the_largest_page_of_a_sweep_stays_below_a_megabyte() -> None:
    small = a_report(30, gradients=False)
    values = tuple(float(i) for i in range(600))
    points = tuple(Point({"lambda_skip": value}, f"m+{value:g}", report=small, loss=value) for value in values)
    page = text(replace(a_sweep(), axes=(Swept("lambda_skip", values),), points=points, planned=600), "html")
    assert len(page.encode()) < 1_000_000
    assert "201 more points are in the CSV and the JSON" in page
