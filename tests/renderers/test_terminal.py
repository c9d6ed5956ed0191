from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reports import HOSTILE, a_hostile_report, a_report, block_row, undefined_report
from rich.cells import cell_len

from rankscope.records import Coverage, Note, Report, display_name
from rankscope.renderers import RENDERERS, Style


def shown(report: Report, columns: int = 80, **style: object) -> str:
    return RENDERERS["table"].text(report, Style(columns=columns, **style))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "report", "columns"),
    [
        ("healthy-80", a_report(), 80),
        ("healthy-200", a_report(), 200),
        ("collapsed-80", a_report(depth=24, decay=0.8), 80),
        ("collapsed-120-ascii", a_report(depth=24, decay=0.5), 120),
        ("thinning-80", a_report(depth=6, decay=0.7, gradients=False), 80),
        ("undefined-80", undefined_report(), 80),
        ("hostile-80", a_hostile_report(), 80),
        ("hostile-200", a_hostile_report(), 200),
    ],
)
def test_golden(golden, name: str, report: Report, columns: int) -> None:
    text = shown(report, columns, unicode="ascii" not in name)
    assert max(cell_len(line) for line in text.splitlines()) <= columns
    golden(f"{name}.txt", text)


def test_every_layer_and_every_name_is_whole_at_any_width() -> None:
    for columns in (40, 60, 80, 133, 200):
        text = shown(a_hostile_report(), columns)
        assert max(cell_len(line) for line in text.splitlines()) <= columns
        squeezed = re.sub(r"\s", "", text)
        for name in HOSTILE:
            if len(name) < 10 and name.strip():
                assert re.sub(r"\s", "", display_name(name)) in squeezed


def test_all_of_a_long_name_is_folded_not_cut() -> None:
    report = a_report(depth=1)
    name = "encoder." + ".".join(f"part{i}" for i in range(20))
    rows = tuple(replace(row, layer=name) if row.layer_index == 1 else row for row in report.rows)
    layers = (report.layers[0], replace(report.layers[1], name=name))
    text = shown(replace(report, rows=rows, layers=layers), 80)
    column = "".join(line[3:32].strip() for line in text.splitlines())
    assert name in column


def test_what_long_names_begin_with_is_said_once() -> None:
    names = [f"model.encoder.layer_groups.0.{i}" for i in range(3)]
    rows = tuple(replace(block_row("rank_one_residual_unit", k, 0.5), layer=name) for k, name in enumerate(names))
    text = RENDERERS["table"].text(Report(model={}, rows=rows), Style(columns=60))
    assert text.count("model.encoder.layer_groups.0.") == 1
    wide = RENDERERS["table"].text(Report(model={}, rows=rows), Style(columns=200))
    assert all(name in wide for name in names)


def test_what_does_not_fit_is_told_and_verbose_shows_it() -> None:
    assert "7 more measures: -v, a wider screen" in shown(a_report(), 80)
    assert "more measure" not in shown(a_report(), 200)
    narrow, every = shown(a_report(), 80), shown(a_report(), 80, every=True)
    assert "more measure" not in every
    assert "84.17" in every.partition("over depth")[0]
    assert "84.17" not in narrow.partition("over depth")[0]
    assert every.count("blocks.11") > narrow.count("blocks.11")


def test_the_curves_hold_every_measure_at_any_width() -> None:
    for columns in (80, 200):
        curves = shown(a_report(), columns).partition("over depth")[2]
        for measure in {row.measure for row in a_report().rows}:
            assert re.search(rf"^{measure} +[▁-█·]{{10,}} ", curves, re.MULTILINE), measure


def test_the_header_says_what_was_measured() -> None:
    text = shown(a_report(), 200)
    assert "model.pt (Net, 198,272 parameters, module)" in text
    assert "random, seed 0, 8 sequences of 128 tokens" in text
    assert "cpu, float32, spectra gram64" in text
    assert "blocks: 12 × Block, 128 × 64" in text
    odd = replace(a_report(), inputs={"source": "text.txt", "sequences": 3, "tokens": 100}, model={"spec": "m"})
    assert "text.txt, 3 sequences, 100 tokens" in shown(odd, 200)
    inferred = replace(a_report(), inputs={"source": "inferred: x=8x4, seed 0", "seed": 0})
    assert shown(inferred).count("seed") == 1


def test_a_missing_number_has_a_footnote_and_each_reason_stands_once() -> None:
    report = a_report(depth=4)
    why = {"value": None, "status": "undefined"}
    reasons = {"mu_bar": "reason A", "mu": "reason A", "effective_rank": "reason B"}
    rows = tuple(
        replace(row, **why, reason=reasons[row.measure]) if row.measure in reasons and row.layer_index == 2 else row
        for row in report.rows
    )
    text = shown(replace(report, rows=rows), 200)
    table = text.partition("over depth")[0]
    assert (table.count("—¹"), table.count("—²")) == (1, 2)
    assert (text.count("undefined: reason A"), text.count("undefined: reason B")) == (1, 1)
    ascii_table = shown(replace(report, rows=rows), 200, unicode=False).partition("over depth")[0]
    assert (ascii_table.count("--[1]"), ascii_table.count("--[2]")) == (1, 2)


def test_a_measure_without_any_number_takes_no_column() -> None:
    text = shown(a_report(depth=4, gradients=False), 200)
    assert "absent  grad_norm: undefined: the output does not depend on a gradient" in text
    assert not re.search(r"^grad_norm", text, re.MULTILINE)


def test_a_value_at_the_floor_is_marked() -> None:
    report = a_report(depth=4)
    low = tuple(replace(row, value=1e-7) if row.layer_index == 4 and row.floor else row for row in report.rows)
    text = shown(replace(report, rows=low), 200)
    assert "≤1.0e-7" in text
    assert "at or below the noise floor of float32" in text
    assert "noise floor" not in shown(report, 200)


def test_coverage_groups_the_skipped_by_reason() -> None:
    skipped = {f"experts.{i}": "it did not run" for i in range(5)} | {"head": "its output is no float"}
    text = shown(replace(a_report(depth=1), coverage=Coverage(13, 13, 8, 7, skipped)), 200)
    assert "13 found, 13 hooked, 8 fired, 7 measured, 6 skipped" in text
    assert "experts.0, experts.1, experts.2 and 2 more: it did not run; head: its output is no float" in text


def test_notes_are_shown_unless_they_were_announced() -> None:
    report = replace(a_report(depth=1), notes=(Note("RS240", "inputs were inferred"), Note("RS510", "limits")))
    assert "inputs were inferred [RS240]" in shown(report)
    again = shown(report, announced=frozenset({"inputs were inferred"}))
    assert "inferred" not in again
    assert "limits [RS510]" in again
    quiet = shown(report, notes=False)
    assert "RS" not in quiet
    assert "healthy: " in quiet, "the verdict is no note"


@pytest.mark.parametrize(("decay", "helps"), [(0.5, True), (1.0, False)])
def test_a_verdict_that_warns_says_where_the_remedies_are(decay: float, helps: bool) -> None:
    report = a_report(decay=decay)
    assert ("what helps: rankscope explain collapsed" in shown(report)) is helps
    assert ("what helps: `rankscope explain collapsed`" in RENDERERS["md"].text(report)) is helps


def test_colours_only_when_asked_and_never_alone() -> None:
    plain, coloured = shown(a_report(decay=0.5)), shown(a_report(decay=0.5), color=True)
    assert "\x1b" not in plain
    assert "\x1b[1;31mcollapsed\x1b[0m" in coloured
    bare = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in bare.splitlines()] == plain.splitlines()


def test_a_hostile_name_never_reaches_the_terminal_raw() -> None:
    for color in (False, True):
        text = (
            re.sub(r"\x1b\[[\d;]*m", "", shown(a_hostile_report(), color=color)) if color else shown(a_hostile_report())
        )
        assert not any(ord(c) < 32 and c != "\n" for c in text)
        assert "\u202e" not in text


def test_an_ascii_screen_gets_ascii_but_for_names() -> None:
    assert shown(a_report(decay=0.5), unicode=False).isascii()
    assert shown(undefined_report(), unicode=False).isascii()


def test_an_empty_report_is_no_crash() -> None:
    assert "0 found" in shown(Report(model={"spec": "net"}, rows=()))


def test_two_stacks_have_a_table_and_a_verdict_each() -> None:
    report = a_report(depth=3)
    other = [replace(row, stack="decoder") for row in report.rows]
    depth = tuple(replace(d, stack="decoder", verdict="undefined", reason="because") for d in report.depth)
    text = shown(replace(report, rows=(*report.rows, *other), depth=(*report.depth, *depth)))
    assert text.count("over depth") == 2
    assert "healthy: the tokens stay apart" in text
    assert "undefined: because" in text


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.none() | st.floats(allow_nan=True), min_size=1, max_size=40),
    st.integers(1, 250),
    st.booleans(),
    st.text(max_size=30),
)
@example([-9.995e99, None], 1, False, "")
def test_no_numbers_and_no_width_break_it(values: list[float | None], columns: int, unicode: bool, name: str) -> None:
    rows = tuple(
        replace(block_row("mu_bar_unit", k, value, min=None, max=None), layer=name, stack=name)
        for k, value in enumerate(values)
    )
    text = shown(Report(model={"spec": name}, rows=rows), columns, unicode=unicode)
    assert max(cell_len(line) for line in text.splitlines()) <= max(columns, 40)


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_number_is_cut_into_another(columns: int, unicode: bool) -> None:
    report = a_report()
    whole = set(shown(report, 1000, unicode=unicode).split())
    text = shown(report, columns, unicode=unicode)
    assert max(map(len, text.splitlines())) <= columns
    numbers = {word for word in text.split() if re.match(r"[-+≤<]?\d", word)}
    assert {word for word in numbers - whole if "." in word} == set()
    assert not any(line.split()[:1] == ["put"] for line in text.splitlines())
