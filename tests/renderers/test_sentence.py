from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from reports import EPS, block_row, rows_of_depth

from rankscope.depth import verdicts
from rankscope.renderers._sentence import sentence

if TYPE_CHECKING:
    from rankscope.records import Row


def said(rows: list[Row]) -> str:
    return sentence(verdicts(rows, EPS)[0][0], rows)


@pytest.mark.parametrize(
    ("residuals", "words"),
    [
        (
            [0.9 * 0.6**k for k in range(9)],
            "collapsed from blocks.5 on: the tokens of every sequence are within 1.7 % of",
        ),
        ([0.9 * 0.6**k for k in range(9)], "the decay is exponential, a factor 0.6 a layer (R² 1.00)"),
        ([0.9, 0.01, 1e-9], "within 0.01 % of one direction at the end"),
        ([0.01, 0.01, 0.01], "collapsed from blocks.0.input on (already the input of the first block)"),
        (
            [0.9, 0.2, 0.5],
            "thinning, first at blocks.0: rank_one_residual_unit 0.2 is under 0.3; at the end the tokens",
        ),
        ([0.9, 0.29999, 0.5], "rank_one_residual_unit 0.29999 is under 0.3"),
        ([0.9, 0.6, 0.8], "healthy: the tokens stay apart; at the nearest, blocks.0, they are 60 % away from one"),
        ([0.9, 0.9, 0.9], "no steady decay over depth"),
        ([0.4, 0.5, 0.6], "they draw apart with depth, a factor 1.22 a layer"),
        ([0.9, 0.9], "no fit over depth: 2 of 2 layers hold a number above the noise floor; a fit needs 3"),
        ([0.9, 0.9, 0.9], "judged without mu_bar_unit and effective_rank_unit"),
        ([math.exp(-0.6 * 2.2**k) for k in range(5)], "the decay is doubly exponential, exponent 2.2"),
    ],
)
def test_the_words(residuals: list[float], words: str) -> None:
    assert words in said(rows_of_depth(residuals))


def test_every_sequence_is_claimed_only_when_it_is_true() -> None:
    rows = rows_of_depth([0.9, 0.04, 0.03])
    assert "the tokens of every sequence are within 3.3 %" in said(rows)
    stray = [*rows[:2], replace(rows[2], max=0.4)]
    assert "on average the tokens of a sequence are within 3 %" in said(stray)
    assert "on average" in said([*rows[:2], replace(rows[2], max=None)])


def test_the_worst_sequence_is_told_where_it_is_worse() -> None:
    rows = [replace(row, min=low) for row, low in zip(rows_of_depth([0.9, 0.8, 0.7]), [0.9, 0.2, 0.01], strict=True)]
    assert "the worst sequence is collapsed from blocks.1 on" in said(rows)
    rows = [replace(row, min=low) for row, low in zip(rows_of_depth([0.9, 0.8, 0.7]), [0.9, 0.2, 0.5], strict=True)]
    assert "the worst sequence is thinning at blocks.0" in said(rows)
    assert "worst" not in said(rows_of_depth([0.9, 0.8, 0.7]))


def test_undefined_says_why() -> None:
    rows = [*rows_of_depth([0.9, 0.8]), block_row("rank_one_residual_unit", 2, None, status="undefined", reason="NaN")]
    assert said(rows) == "undefined: rank_one_residual_unit of the last layer, blocks.1, is undefined: NaN"
