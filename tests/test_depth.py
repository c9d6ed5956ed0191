from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import EPS, block_row, rows_of_depth

from rankscope.depth import Limits, verdicts

if TYPE_CHECKING:
    from rankscope.records import Depth, Row


def judged(rows: list[Row], eps: float = EPS, **limits: float) -> Depth:
    return verdicts(rows, eps, Limits(**limits) if limits else None)[0][0]


@pytest.mark.parametrize(
    ("residuals", "verdict", "layer"),
    [
        ([0.9, 0.8, 0.7], "healthy", None),
        ([0.9, 0.04, 0.03], "collapsed", "blocks.0"),
        ([0.9, 0.5, 0.049], "collapsed", "blocks.1"),
        ([0.9, 0.5, 0.05], "thinning", "blocks.1"),  # not under the limit
        ([0.9, 0.04, 0.9], "thinning", "blocks.0"),  # came back: thin, not collapsed
        ([0.9, 0.04, 0.9, 0.04, 0.01], "collapsed", "blocks.2"),  # the run that lasts to the end
        ([0.04, 0.04, 0.04], "collapsed", "blocks.0.input"),
        ([0.2, 0.5, 0.5], "healthy", None),  # a thin input is not the blocks' doing
        ([0.2], "thinning", "blocks.0.input"),  # nothing but the input
        ([0.9, 0.3, 0.9], "healthy", None),
        ([0.9, 0.299, 0.9], "thinning", "blocks.0"),
        ([0.9, 0.0, 0.0], "collapsed", "blocks.0"),
    ],
)
def test_verdict_and_layer(residuals: list[float], verdict: str, layer: str | None) -> None:
    found = judged(rows_of_depth(residuals))
    assert (found.verdict, found.layer) == (verdict, layer)


def test_thinning_by_mu_bar_or_by_rank_alone() -> None:
    rows = rows_of_depth([0.9, 0.9, 0.9])
    assert judged([*rows, block_row("mu_bar_unit", 2, 0.29)]).layer == "blocks.1"
    assert judged([*rows, block_row("mu_bar_unit", 0, 0.29)]).verdict == "healthy"
    rank = block_row("effective_rank_unit", 1, 1 + 0.0999 * 40, reference=41.0)
    assert (judged([*rows, rank]).verdict, judged([*rows, rank]).layer) == ("thinning", "blocks.0")
    assert judged([*rows, replace(rank, value=5.01)]).verdict == "healthy"
    assert judged([*rows, replace(rank, reference=None)]).verdict == "healthy"


def test_other_sites_scopes_and_heads_are_not_judged() -> None:
    rows = rows_of_depth([0.9, 0.9, 0.9])
    for other in ({"scope": "pooled"}, {"site": "value"}, {"head": 0}, {"parameter": "w"}):
        assert judged([*rows, *rows_of_depth([0.01, 0.01, 0.01], **other)]).verdict == "healthy"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": None, "status": "undefined", "reason": "one NaN"}, "one NaN"),
        ({"value": math.nan}, "is ok"),
        ({"value": 0.01, "status": "error", "reason": "it raised"}, "it raised"),
        ({"value": None, "status": "skipped", "reason": None}, "is skipped"),
    ],
)
def test_undefined_where_the_last_layer_is(change: dict, reason: str) -> None:
    rows = rows_of_depth([0.9, 0.5, 0.01])
    found = judged([*rows[:2], replace(rows[2], **change)])
    assert (found.verdict, found.layer) == ("undefined", None)
    assert reason in (found.reason or "")
    assert "blocks.1" in (found.reason or "")


def test_undefined_names_the_layer_where_it_starts() -> None:
    rows = rows_of_depth([0.9, 0.5, 0.4, 0.3])
    lost = [replace(row, value=None, status="undefined", reason="non-finite values") for row in rows[2:]]
    expected = "rank_one_residual_unit of the last layer, blocks.2, is undefined: non-finite values, first at blocks.1"
    assert judged([*rows[:2], *lost]).reason == expected


def test_undefined_without_the_measure() -> None:
    found, notes = verdicts([block_row("mu", 0, 3.0)], EPS)
    assert [(d.measure, d.verdict, d.decay) for d in found] == [("rank_one_residual_unit", "undefined", None)]
    assert found[0].reason == "rank_one_residual_unit was not measured"
    assert verdicts([], EPS) == ((), ())
    assert [note.code for note in notes] == ["RS510"]


def test_a_gap_is_never_counted_as_collapsed() -> None:
    rows = rows_of_depth([0.9, 0.01, 0.01, 0.01])
    gap = replace(rows[2], value=None, status="skipped", reason="idle")
    assert judged([*rows[:2], gap, rows[3]]).layer == "blocks.2"


def test_a_healthy_verdict_says_what_it_was_taken_without() -> None:
    rows = rows_of_depth([0.9, 0.8, 0.7])
    assert judged(rows).reason == "judged without mu_bar_unit and effective_rank_unit"
    rows += [
        block_row(m, k, 0.9 + 30 * (m != "mu_bar_unit"))
        for m in ("mu_bar_unit", "effective_rank_unit")
        for k in range(3)
    ]
    assert judged(rows).reason is None


def test_worst_sequence_beside_the_mean() -> None:
    rows = [replace(row, min=low) for row, low in zip(rows_of_depth([0.9, 0.8, 0.7]), [0.9, 0.2, 0.01], strict=True)]
    found = judged(rows)
    assert (found.verdict, found.worst_verdict, found.worst_layer) == ("healthy", "collapsed", "blocks.1")
    assert judged([replace(row, min=None) for row in rows]).worst_verdict == "undefined"


def test_exponential_decay_is_found() -> None:
    found = judged(rows_of_depth([0.9 * 0.6**k for k in range(9)]))
    assert found.decay == "exponential"
    assert found.rate == pytest.approx(math.log(0.6))
    assert found.r2 == pytest.approx(1.0)
    assert found.exponent == pytest.approx(1.0)


def test_the_exponent_is_taken_under_one_half_and_over_three_pairs() -> None:
    assert judged(rows_of_depth([0.95, 0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05])).exponent == pytest.approx(1.0)
    assert judged(rows_of_depth([0.95, 0.9, 0.8, 0.6, 0.4, 0.2, 0.1])).exponent is None


@pytest.mark.parametrize("layers", [4, 5, 6])
def test_doubly_exponential_decay_is_found_at_any_length(layers: int) -> None:
    """ln r triples every layer; over five layers and more a straight line fits it badly."""
    found = judged(rows_of_depth([math.exp(-0.8 * 3**k) for k in range(layers)]), eps=0.0)
    assert found.exponent == pytest.approx(3.0)
    assert (found.decay, found.verdict) == ("doubly_exponential", "collapsed")
    assert layers < 5 or (found.r2 or 1.0) < 0.8


@pytest.mark.parametrize(
    ("residuals", "decay"),
    [
        ([0.5, 0.5, 0.5, 0.5], "none"),
        ([0.9, 0.5, 0.9, 0.4, 0.9, 0.5], "none"),  # no line: R² is low
        ([0.2, 0.3, 0.45, 0.7], "growing"),
        ([0.9, 0.35, 0.45, 0.2, 0.05], "exponential"),  # a steep exponent, but through scattered points
        ([0.9, 0.4, 0.3, 0.4, 0.3, 0.01], "none"),
        ([0.9 * math.exp(-0.009 * k) for k in range(5)], "none"),
        ([0.9 * math.exp(-0.011 * k) for k in range(5)], "exponential"),
    ],
)
def test_other_kinds_of_decay(residuals: list[float], decay: str) -> None:
    assert judged(rows_of_depth(residuals)).decay == decay


def test_layers_at_the_floor_are_not_fitted_and_stay_collapsed() -> None:
    residuals = [0.9, 0.3, 0.1, 0.03, 3e-7, 2e-7, 3e-7, 2e-7]
    found = judged(rows_of_depth(residuals))
    assert found.rate == pytest.approx(judged(rows_of_depth(residuals[:4])).rate)
    assert (found.verdict, found.layer) == ("collapsed", "blocks.2")
    assert judged(rows_of_depth([0.9, 0.5, 0.4, 0.3], floor=0.45)).verdict == "collapsed"
    assert judged(rows_of_depth([0.9, 0.03, 0.02]), eps=2.0**-7).decay is None


def test_a_value_under_its_error_is_not_fitted() -> None:
    rows = rows_of_depth([0.9, 0.6, 0.4, 1e-5])
    exact, blurred = judged(rows), judged([*rows[:3], replace(rows[3], error=2e-5)])
    assert exact.rate != pytest.approx(blurred.rate)
    assert blurred.rate == pytest.approx(judged(rows[:3]).rate)


def test_two_layers_are_no_fit() -> None:
    found = judged(rows_of_depth([0.9, 0.5]))
    assert (found.decay, found.rate, found.r2, found.exponent) == (None, None, None, None)
    assert found.reason == "2 of 2 layers hold a number above the noise floor; a fit needs 3"


def test_both_measures_have_their_own_fit_and_one_verdict() -> None:
    rows = rows_of_depth([0.9 * 0.5**k for k in range(8)])
    rows += [block_row("mu_bar_unit", k, 0.9 * 0.8**k) for k in range(8)]
    first, second = verdicts(rows, EPS)[0]
    assert (first.measure, second.measure) == ("rank_one_residual_unit", "mu_bar_unit")
    assert first.verdict == second.verdict == "collapsed"
    assert (first.rate, second.rate) == (pytest.approx(math.log(0.5)), pytest.approx(math.log(0.8)))


def test_stacks_are_judged_apart() -> None:
    decoder = [replace(row, stack="decoder") for row in rows_of_depth([0.9, 0.01, 0.01])]
    found, _ = verdicts([*rows_of_depth([0.9, 0.9, 0.9]), *decoder], EPS)
    assert [(d.stack, d.verdict) for d in found] == [("blocks", "healthy"), ("decoder", "collapsed")]


def test_limits_can_be_moved_and_are_told() -> None:
    rows = rows_of_depth([0.9, 0.4, 0.4])
    assert judged(rows).verdict == "healthy"
    assert judged(rows, thinning=0.5).verdict == "thinning"
    assert judged(rows, collapsed=0.5).verdict == "collapsed"
    note = verdicts(rows, EPS, Limits(collapsed=0.07))[1][0]
    assert (note.code, "under 0.07 at a layer" in note.text) == ("RS510", True)


def test_a_shared_direction_with_rich_differences_is_noted() -> None:
    rows = rows_of_depth([0.9, 0.2, 0.2])
    rich = block_row("effective_rank_centered", 2, 70.0, reference=120.0)
    assert [note.code for note in verdicts([*rows, rich], EPS)[1]] == ["RS510", "RS511"]
    assert "70 at blocks.1, 120 for Gaussian data" in verdicts([*rows, rich], EPS)[1][1].text
    for poor in (replace(rich, value=20.0), replace(rich, reference=None), replace(rich, floor=71.0)):
        assert [note.code for note in verdicts([*rows, poor], EPS)[1]] == ["RS510"]
    assert len(verdicts([*rows_of_depth([0.9, 0.9, 0.9]), rich], EPS)[1]) == 1
    assert len(verdicts([*rows_of_depth([0.9, 0.2, EPS]), rich], EPS)[1]) == 1, "what is left at the floor is rounding"


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_no_depth_breaks_it_and_the_run_is_real(residuals: list[float]) -> None:
    found = judged(rows_of_depth(residuals, min=None))
    collapsed = residuals[-1] < 0.05
    assert (found.verdict == "collapsed") is collapsed
    if collapsed:
        names = [row.layer for row in rows_of_depth(residuals)]
        start = names.index(found.layer)
        assert all(r < 0.05 for r in residuals[start:])
        assert start == 0 or residuals[start - 1] >= 0.05
    assert found.decay in {None, "none", "growing", "exponential", "doubly_exponential"}
    assert found.r2 is None or 0 <= found.r2 <= 1


FEW = {"value": None, "min": None, "max": None, "status": "undefined", "reason": "fewer than 4 tokens"}


def test_layers_at_the_end_with_too_few_tokens_are_not_judged() -> None:
    rows = rows_of_depth([0.9, 0.5, 0.2, 0.01, 0.01])
    pooled = [*rows[:3], replace(rows[3], **FEW), replace(rows[4], **FEW)]
    found = judged(pooled)
    assert (found.verdict, found.layer, found.worst_verdict) == ("thinning", "blocks.1", "thinning")
    assert "judged up to blocks.1: the 2 layers after it have fewer than 4 tokens" in (found.reason or "")
    assert judged([*rows[:4], replace(rows[4], **FEW)]).verdict == "collapsed"
    healthy = rows_of_depth([0.9, 0.8, 0.7, 0.6])
    found = judged([*healthy[:3], replace(healthy[3], **FEW)])
    assert found.verdict == "healthy"
    assert found.reason == (
        "judged without mu_bar_unit and effective_rank_unit; "
        "judged up to blocks.1: the last layer has fewer than 4 tokens"
    )


def test_only_too_few_tokens_at_the_end_are_passed_over() -> None:
    rows = rows_of_depth([0.9, 0.5, 0.2])
    zeros = {**FEW, "reason": "fewer than 4 non-zero tokens"}
    some = {**FEW, "reason": "fewer than 4 tokens in 1 of 2 sequences; non-finite values in 1 of 2 sequences"}
    for reason in (zeros, some, {**FEW, "reason": "non-finite values"}):
        assert judged([*rows[:2], replace(rows[2], **reason)]).verdict == "undefined", reason
    assert judged([replace(row, **FEW) for row in rows]).verdict == "undefined"
    in_between = judged([rows[0], replace(rows[1], **FEW), rows[2]])
    assert (in_between.verdict, in_between.reason and "judged up to" in in_between.reason) == ("thinning", False)
