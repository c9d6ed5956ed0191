from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import a_report, block_row, undefined_report

from rankscope.records import Layer, Report
from rankscope.table import Column, at_floor, ends, number, numbers, sparkline, tables, wide

NAN, INF = math.nan, math.inf


def columns(*rows: object) -> dict[str, Column]:
    (table,) = tables(Report(model={}, rows=rows))  # type: ignore[arg-type]
    return {column.label: column for column in table.columns}


def test_a_line_a_layer_and_the_telling_columns_first() -> None:
    (table,) = tables(a_report(depth=3))
    assert table.index == (0, 1, 2, 3)
    assert table.names == ("blocks.0.input", "blocks.0", "blocks.1", "blocks.2")
    assert [c.label for c in table.columns][:3] == ["rank_one_residual_unit", "mu_bar_unit", "effective_rank_unit"]
    assert len(table.columns) == 13
    cosine = next(c for c in table.columns if c.label == "value_cosine")
    assert cosine.rows[0] is None
    assert cosine.values[:2] == (None, 1.0)


def test_scopes_heads_and_sites_are_columns_of_their_own() -> None:
    row = block_row("effective_rank", 1, 5.0)
    found = columns(
        row,
        replace(row, scope="pooled", value=9.0),
        replace(row, head=2, value=3.0),
        replace(row, site="value", value=4.0),
        block_row("mu", 1, 1.0),
        block_row("grad_norm", 1, 1.0, site="gradient", scope="batch"),
    )
    assert {label: column.values for label, column in found.items()} == {
        "effective_rank": (5.0,),
        "pooled:effective_rank": (9.0,),
        "effective_rank:head2": (3.0,),
        "value:effective_rank": (4.0,),
        "mu": (1.0,),
        "grad_norm": (1.0,),
    }


def test_the_worst_parameter_stands_for_a_layer() -> None:
    def rows(measure: str, *values: float | None) -> dict[str, Column]:
        where = {"site": "weight_gradient", "scope": "batch"}
        return columns(
            *(
                block_row(measure, 1, value, parameter=f"p{i}", status="undefined" if value is None else "ok", **where)
                for i, value in enumerate(values)
            )
        )

    assert rows("grad_condition", 3.0, 90.0, 7.0)["grad_condition"].values == (90.0,)
    assert rows("grad_effective_rank", 3.0, 90.0, 7.0)["grad_effective_rank"].values == (3.0,)
    assert rows("grad_condition", None, 7.0)["grad_condition"].values == (7.0,)
    assert rows("grad_condition", None, None)["grad_condition"].values == (None,)


def test_a_layer_without_rows_keeps_its_line() -> None:
    layers = (Layer("blocks", 1, "blocks.0", "B"), Layer("blocks", 2, "blocks.1", "B"))
    (table,) = tables(Report(model={}, rows=(block_row("mu", 1, 2.0),), layers=layers))
    assert table.names == ("blocks.0", "blocks.1")
    assert table.columns[0].values == (2.0, None)
    assert tables(Report(model={}, rows=())) == ()


@pytest.mark.parametrize(
    "change", [{"value": None}, {"value": NAN}, {"value": INF}, {"status": "error"}, {"status": "undefined"}]
)
def test_what_is_no_number_is_never_shown_as_one(change: dict) -> None:
    row = replace(block_row("mu", 1, 2.0), **change)
    assert number(row) is None
    assert columns(row)["mu"].values == (None,)
    assert not at_floor(replace(row, floor=3.0))


def test_the_floor_is_inclusive_and_zero_is_none() -> None:
    row = block_row("effective_rank", 1, 1.13, floor=1.13)
    assert at_floor(row)
    assert not at_floor(replace(row, value=1.14))
    assert not at_floor(replace(row, value=0.0, floor=0.0))
    assert not at_floor(replace(row, floor=None))


def test_wide_has_a_column_a_measure() -> None:
    report = a_report(depth=2)
    both = replace(report, rows=(*report.rows, block_row("mu", 1, 7.0, stack="encoder")))
    frame = wide(both)
    assert list(frame.columns[:3]) == ["stack", "layer_index", "layer"]
    assert list(frame["stack"]) == ["blocks"] * 3 + ["encoder"]
    assert frame.loc[3, "mu"] == 7.0
    assert pd.isna(frame.loc[3, "mu_bar"])
    assert pd.isna(frame.loc[0, "value_cosine"])
    assert wide(undefined_report())["mu"].isna().all()
    assert list(wide(Report(model={}, rows=())).columns) == ["stack", "layer_index", "layer"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.912, 0.0312, 0.004], ["0.912", "0.031", "4.0e-3"]),
        ([0.0, 0.5], ["0", "0.500"]),
        ([-0.25, 0.5], ["-0.250", "0.500"]),
        ([12.345, 1.02], ["12.35", "1.02"]),
        ([1234.5, 12.0], ["1234.5", "12.0"]),
        ([3.2e7, 9999.0, 1.0], ["3.20e7", "9999.0", "1.0"]),
        ([0.99996, 0.5], ["0.99996", "0.50000"]),
        ([0.999999999, 0.5], ["1.000", "0.500"]),
        ([1e-300], ["1.0e-300"]),
        ([None], [""]),
        ([], []),
    ],
)
def test_numbers_have_enough_digits(values: list[float | None], texts: list[str]) -> None:
    assert numbers(values) == texts


@given(st.lists(st.floats(-1e300, 1e300), max_size=8))
def test_a_shown_number_is_the_number(values: list[float]) -> None:
    for value, text in zip(values, numbers(values), strict=True):
        assert float(text) == pytest.approx(value, rel=0.06, abs=0)
        assert len(text) <= 9


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([1.0], "█"),
        ([0.0, 0.0], "▁▁"),
        ([1.0, 1.0, 1.0], "███"),
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([-1.0, 0.0, 1.0], "▁▅█"),
        ([None, 1.0, NAN, INF], "·█··"),
        ([None], "·"),
    ],
)
def test_sparkline(values: list[float | None], line: str) -> None:
    assert sparkline(values) == line


def test_a_sparkline_is_narrowed_by_means_and_can_be_ascii() -> None:
    assert sparkline([8, 8, 0, 0], width=2) == "█▁"
    assert sparkline([8, None, None, None], width=2) == "█·"
    assert len(sparkline(range(97), width=24)) == 24
    assert sparkline(range(5), width=9) == sparkline(range(5))
    assert sparkline([None, 0, 1, 5, 7], ascii=True).isascii()


def test_headings_are_narrow() -> None:
    for name in ("participation_ratio_centered", "rank_one_residual_unit", "pooled:effective_rank", "mu_bar:head12"):
        heading = Column(name, name, ()).heading
        assert max(len(line) for line in heading.splitlines()) <= 9
    assert Column("mu_bar_unit", "mu_bar_unit", ()).heading == "mu_bar\nunit"


def test_a_curve_of_extreme_numbers_is_drawn() -> None:
    assert sparkline([3e295, -1.7e308, 1.7e308]) == "▅▁█"
    assert sparkline([5e-324, 0.0]) == "█▁"


def test_an_undefined_end_of_a_curve_is_shown_as_such() -> None:
    rows = [block_row("mu_bar", 0, 0.9), block_row("mu_bar", 1, None, status="undefined", reason="non-finite values")]
    found = ends(columns(*rows)["mu_bar"])
    assert (found.first, found.last, found.low) == ("0.900", "·", "")


def test_ends_tell_the_range_over_several_sequences_only() -> None:
    row = block_row("mu_bar", 1, 0.5, min=0.4, max=0.6, reference=0.99)
    found = ends(columns(row)["mu_bar"])
    assert (found.first, found.low, found.high, found.reference) == ("0.500", "0.400", "0.600", "0.990")
    assert ends(columns(replace(row, sequences=1))["mu_bar"]).low == ""


def test_the_reference_of_an_entropy_is_shown_too() -> None:
    row = replace(block_row("attention_entropy", 1, 4.1, reference=4.43865), site="attention")
    assert ends(columns(row)["attention_entropy"]).reference == "4.439"


def test_a_report_with_many_heads_is_pivoted_at_once() -> None:
    rows = [replace(block_row("value_cosine", k, 0.5), head=head) for k in range(40) for head in range(200)]
    (table,) = tables(Report(model={}, rows=tuple(rows)))
    assert (len(table.columns), len(table.index)) == (200, 40)
    assert {value for column in table.columns for value in column.values} == {0.5}
