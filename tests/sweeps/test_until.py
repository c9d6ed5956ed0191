from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from reports import a_report

from rankscope.edits import read_edits
from rankscope.errors import UsageError
from rankscope.requirements import parse
from rankscope.sweeps.axes import template
from rankscope.sweeps.records import Point
from rankscope.sweeps.searches import search_of
from rankscope.sweeps.spots import asked
from rankscope.sweeps.until import CLOSE, outcome, per_layer, search

if TYPE_CHECKING:
    from collections.abc import Callable

    from rankscope.sweeps.records import Found

RULE = parse("mu_bar >= 0.3 @ last")
EDIT = template("lambda_skip=-20:20:9")
REFERENCE = Point({}, "m", "reference", loss=2.0, keeps="failed")


class Bench:
    """Points of a rule that holds where a function says so; counts what was measured."""

    def __init__(self, keeps: Callable[[float], bool], loss: Callable[[float], float | None] = lambda _: 2.0) -> None:
        self.keeps, self.loss, self.seen = keeps, loss, list[float]()

    def __call__(self, value: float) -> Point:
        self.seen.append(value)
        state = "ok" if self.keeps(value) else "failed"
        return Point({"lambda_skip": value}, "m", report=a_report(1), loss=self.loss(value), keeps=state)  # type: ignore[arg-type]


def found(bench: Bench, scan: list[float], reference: Point = REFERENCE) -> Found:
    points = [bench(value) for value in scan]
    bench.seen.clear()
    return search(RULE, EDIT, points, reference, 1.0, bench)


SCAN = [-20.0, -10.0, -5.0, 0.0, 5.0, 10.0, 20.0]


def test_the_edge_is_found_to_a_hundredth_of_the_edit() -> None:
    bench = Bench(lambda value: value >= 7.3)
    answer = found(bench, SCAN)
    assert answer.low is not None
    assert answer.value is not None
    assert answer.low < 7.3 <= answer.value
    assert answer.value - answer.low <= CLOSE * (answer.value - 1)
    assert answer.monotone is True
    assert answer.edit == f"lambda_skip={answer.value:g}"
    assert len(bench.seen) <= 12


def test_the_side_that_is_nearer_to_the_unedited_model_wins() -> None:
    answer = found(Bench(lambda value: value >= 9 or value <= -3), SCAN)
    assert answer.value is not None
    assert answer.value == pytest.approx(-3, abs=0.05)
    assert answer.low is not None
    assert answer.low > -3


def test_an_island_is_told() -> None:
    answer = found(Bench(lambda value: 4 <= value <= 6 or value >= 15), SCAN)
    assert answer.value == pytest.approx(4, abs=0.05)
    assert answer.monotone is False
    assert "not monotone" in answer.sentence


def test_nothing_is_searched_where_the_rule_holds_already() -> None:
    bench = Bench(lambda _: True)
    answer = found(bench, SCAN, replace(REFERENCE, keeps="ok"))
    assert (answer.edit, answer.value, bench.seen) == (None, None, [])
    assert answer.sentence == "mu_bar >= 0.3 @ last: holds without any edit."


def test_nothing_is_claimed_where_no_value_keeps_it() -> None:
    bench = Bench(lambda _: False)
    answer = found(bench, SCAN)
    assert (answer.edit, answer.value, bench.seen) == (None, None, [])
    assert "no value that was tried keeps it (7 points)" in answer.sentence


def test_what_is_undefined_does_not_keep_the_rule() -> None:
    points = [Point({"lambda_skip": value}, "m", keeps="undefined") for value in SCAN]
    answer = search(RULE, EDIT, points, REFERENCE, 1.0, Bench(lambda _: True))
    assert answer.value is None
    assert "at 7 it could not be judged" in answer.sentence
    assert outcome(None, RULE) == "undefined"
    assert outcome(a_report(2, decay=0.99), parse("mu_bar >= 0.1 @ last")) == "ok"
    assert outcome(a_report(12, decay=0.5), parse("mu_bar >= 0.1 @ last")) == "failed"


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (2.1, "The loss goes from 2 to 2.1 (+5 %)."),
        (2.5, "(+25 %), more than the 10 % that is let pass here: an edit that keeps the tokens apart and ruins"),
        (float("nan"), "is not a remedy"),
        (1.5, "The loss goes from 2 to 1.5 (-25 %)."),
        (None, "What it does to the loss is not known."),
    ],
)
def test_a_ruined_loss_is_said(after: float | None, told: str) -> None:
    answer = found(Bench(lambda value: value >= 7.3, lambda _: after), SCAN)
    assert told in answer.sentence


def lists(keeps: Callable[[dict[int, float]], bool], uniform: float, scan: list[float]) -> tuple[Found, list[str]]:
    """A search with a list of values for four layers; and the texts that were tried."""
    texts: list[str] = []

    def kept(text: str) -> Point:
        texts.append(text)
        values = dict.fromkeys(range(1, 5), 1.0)
        for spec in read_edits(text) if text else ():
            values |= dict.fromkeys(range(spec.where.low, spec.where.high + 1), float(spec.arguments["lam"][0]))
        return Point({}, "m", keeps="ok" if keeps(values) else "failed", loss=2.0)

    bench = Bench(lambda value: value >= uniform)
    points = [bench(value) for value in scan]
    whole = search(RULE, EDIT, points, REFERENCE, 1.0, bench)
    assert whole.value is not None
    return per_layer(whole, EDIT, [1, 2, 3, 4], kept, REFERENCE, [*points, bench(whole.value)]), texts


def test_a_list_of_layers_is_as_small_as_one_pass_can_make_it() -> None:
    answer, texts = lists(lambda values: values[2] >= 3 and values[3] >= 2, 4.0, [1.0, 5.0])
    values = dict(answer.layers)
    assert values[1] == values[4] == 1.0
    assert values[2] == pytest.approx(3, abs=0.1)
    assert values[3] == pytest.approx(2, abs=0.1)
    assert values[2] >= 3
    assert values[3] >= 2
    assert answer.edit == f"lambda_skip={values[2]:g}@2+lambda_skip={values[3]:g}@3"
    assert "2 of 4 layers need no edit" in answer.sentence
    assert answer.value is not None
    uniform = f"the same for all layers, that keeps it is lambda_skip={answer.value:g}"
    assert answer.sentence.index(uniform) < answer.sentence.index("Layer by layer")
    assert len(texts) <= 4 * 8


def test_the_pass_begins_where_there_is_something_to_spare() -> None:
    answer, _ = lists(lambda values: sum(values.values()) + 2 * values[4] >= 6 * 3.3, 3.3, [1.0, 2.0, 5.0, 9.0])
    values = dict(answer.layers)
    assert (values[1], values[2], values[4]) == (1.0, 1.0, 5.0)
    assert values[3] == pytest.approx(2.8, abs=0.1)
    assert "from lambda_skip=5 on" in answer.sentence


def test_where_no_list_is_smaller_the_one_value_stays() -> None:
    answer, _ = lists(lambda values: min(values.values()) >= 4.9, 4.9, [1.0, 5.0, 9.0])
    assert answer.value is not None
    assert answer.edit == f"lambda_skip={answer.value:g}"
    assert "no smaller list was found" in answer.sentence
    assert answer.layers == ()


def test_runs_of_equal_values_are_one_edit() -> None:
    assert EDIT.per_layer({1: 2.0, 2: 2.0, 3: 2.0, 4: 5.0}) == "lambda_skip=2@1..3+lambda_skip=5@4"


def test_sentences_have_four_digits_and_the_record_has_all() -> None:
    answer = found(Bench(lambda value: value >= 3), [-20 + 40 * i / 39 for i in range(40)])
    assert answer.low is not None
    assert not re.search(r"\d\.\d{4,}", answer.sentence)


@pytest.mark.parametrize(
    ("given", "until", "layers", "match"),
    [
        (["lambda_skip=1,2"], None, True, "belongs to --until"),
        (["no_skip@*"], "mu_bar >= 0.3", False, "one number of one edit"),
        (["lambda_skip=1,2", "no_skip@*"], "mu_bar >= 0.3", False, "one number of one edit"),
        (["lambda_skip=1,2"], "mu_bar > = 0.3", False, "no finite number|no rule"),
        (["lambda_skip=1,2"], "mu_bar >= 500%", False, "could never hold"),
    ],
)
def test_what_cannot_be_searched_is_refused(given: list[str], until: str | None, layers: bool, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        search_of(asked(["m.pt"], given), until, layers)


def test_what_is_searched() -> None:
    assert search_of(asked(["m.pt"], ["lambda_skip=1,2"]), None, False) is None
    wanted = search_of(asked(["m.pt"], ["lambda_skip=1,2"]), "mu_bar >= 0.3", True)
    assert wanted is not None
    assert (wanted.neutral, wanted.per_layer) == (1.0, True)
