"""Comparing: which layers stand beside each other, what is beyond noise, and where two models differ first."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from reports import a_report
from torch import nn

import rankscope
from rankscope.comparison.alignment import align
from rankscope.comparison.noise import LEAST, chances, intervals
from rankscope.errors import CannotMeasure, InputError, UsageError
from rankscope.pipeline import MeasureOptions
from rankscope.records import Batch, Layer, Report
from rankscope.sources import edited, open_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORWARD = {"measures": "forward"}


def net(depth: int = 12, **options: Any) -> nn.Module:
    text = "".join(f",{name}={value}" for name, value in options.items())
    return open_model(f"zoo:transformer,depth={depth},width=32,heads=2{text}").model


def ids(sequences: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (sequences, 24), generator=torch.Generator().manual_seed(0))


def perturbed(model: nn.Module, block: int, how: str) -> nn.Module:
    """A copy with the weights of one block scaled by a half, or with noise of a tenth of their size."""
    changed: Any = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(block)
    with torch.no_grad():
        for weight in changed.blocks[block].parameters():
            noise = 0.1 * weight.abs().mean() * torch.randn(weight.shape, generator=generator)
            weight.copy_(1.5 * weight if how == "scaled" else weight + noise)
    return changed


@pytest.fixture(scope="module")
def twelve() -> tuple[nn.Module, Report]:
    model = net()
    return model, rankscope.probe(model, ids(), **FORWARD)


def saved(report: Report, path: Path) -> str:
    report.save(path)
    return str(path)


@pytest.mark.parametrize(("block", "how"), [(0, "noisy"), (4, "scaled"), (4, "noisy"), (11, "scaled")])
def test_the_perturbed_block_of_twelve_is_named_from_saved_json(
    twelve: tuple[nn.Module, Report], tmp_path: Path, block: int, how: str
) -> None:
    model, before = twelve
    after = rankscope.probe(perturbed(model, block, how), ids(), **FORWARD)
    found = rankscope.compare(saved(before, tmp_path / "a.json"), saved(after, tmp_path / "b.json"))
    (pair,) = found.pairs
    assert pair.first is not None
    assert (pair.first.layer, pair.first.basis) == (f"blocks.{block}", "exact")
    assert f"they differ first at blocks.{block} (" in found.sentence
    earlier = [entry for entry in pair.differences if entry.layer_index <= block]
    assert {entry.outcome for entry in earlier if entry.site == "block"} == {"equal"}
    assert len(pair.matches) == 13


def test_one_sequence_is_enough_where_all_before_is_equal(twelve: tuple[nn.Module, Report]) -> None:
    model, _ = twelve
    found = rankscope.compare(model, perturbed(model, 7, "noisy"), inputs=ids(1), measures="mu_bar,effective_rank")
    assert found.pairs[0].first is not None
    assert found.pairs[0].first.layer == "blocks.7"
    assert found.pairs[0].tests == 0
    assert {e.outcome for e in found.pairs[0].differences} == {"equal", "untested"}


def test_a_against_a_differs_nowhere(twelve: tuple[nn.Module, Report], tmp_path: Path) -> None:
    path = saved(twelve[1], tmp_path / "a.json")
    found = rankscope.compare(path, path, path)
    for pair in found.pairs:
        assert (pair.first, pair.first_unequal, pair.first_of) == (None, None, ())
        assert {entry.outcome for entry in pair.differences} == {"equal"}
        assert {entry.difference for entry in pair.differences} == {0.0}
        assert {entry.ratio for entry in pair.differences} == {1.0}
        assert pair.sentence == f"A and {pair.other} healthy; they differ nowhere: all 142 numbers are equal"


def test_a_probed_twice_differs_nowhere() -> None:
    model = net(3)
    found = rankscope.compare(model, model, inputs=ids())
    assert {entry.outcome for entry in found.pairs[0].differences} == {"equal"}


def test_gradients_name_no_block_for_all_measures() -> None:
    """A perturbed block changes the gradients of all layers before it."""
    model = net(4)
    found = rankscope.compare(model, perturbed(model, 2, "scaled"), inputs=ids(), measures="mu_bar,grad_norm").pairs[0]
    assert found.first is not None
    assert found.first.layer == "blocks.2"
    moved = [entry for entry in found.differences if entry.measure == "grad_norm" and entry.outcome != "equal"]
    assert min(entry.layer_index for entry in moved) < 3


def test_the_verdicts_stand_in_the_sentence() -> None:
    found = rankscope.compare("zoo:transformer,depth=4,skip=off,mlp=off,causal=off", net(4), inputs=ids(), **FORWARD)
    assert found.sentence.startswith("A collapsed from blocks.")
    assert " on, B healthy; they differ first at blocks.0" in found.sentence
    assert "at the end B has " in found.sentence


def layers(stack: str, depth: int, name: str = "") -> list[Layer]:
    names = [f"{name or stack}.0.input", *(f"{name or stack}.{k}" for k in range(depth))]
    return [Layer(stack, k, each, "Block") for k, each in enumerate(names)]


def beside(ours: list[Layer], theirs: list[Layer], by: Any = None) -> list[tuple[str, int, str, int]]:
    found = align(ours, theirs, by)
    return [(m.reference.stack, m.reference.index, m.other.stack, m.other.index) for m in found]


def test_layers_are_matched_by_name_and_the_rest_is_left() -> None:
    assert beside(layers("h", 3), layers("h", 2)) == [("h", k, "h", k) for k in (0, 1, 2)]


@pytest.mark.parametrize(("a", "b"), [(1, 7), (4, 4), (6, 12), (12, 6), (5, 3)])
def test_depth_takes_the_nearest_layer(a: int, b: int) -> None:
    for _, k, _, j in beside(layers("h", a), layers("x", b), "depth"):
        assert (k == 0) == (j == 0)
        if k:
            assert abs(j / b - k / a) == min(abs(i / b - k / a) for i in range(1, b + 1))


def test_stacks_are_matched_by_name_then_in_order() -> None:
    ours = layers("enc", 2) + layers("dec", 2) + layers("head", 1)
    theirs = layers("tail", 1) + layers("dec", 2) + layers("mid", 1)
    pairs = dict.fromkeys((a, b) for a, _, b, _ in beside(ours, theirs))
    assert list(pairs) == [("enc", "tail"), ("dec", "dec"), ("head", "mid")]


def test_names_alone_match_nothing_where_none_is_shared() -> None:
    assert beside(layers("h", 2), layers("x", 2), "name") == []
    assert len(beside(layers("h", 2), layers("x", 2))) == 3


def test_a_block_that_is_called_several_times_is_matched_call_by_call() -> None:
    again = [Layer("h", k, "h.shared", "Block") for k in range(4)]
    assert beside(again, again) == [("h", k, "h", k) for k in range(4)]


def test_layers_that_stand_alone_are_listed() -> None:
    found = rankscope.compare(net(3), net(5), inputs=ids(), measures="mu_bar").pairs[0]
    assert found.unmatched_reference == ()
    assert [layer.name for layer in found.unmatched_other] == ["blocks.3", "blocks.4"]
    by_depth = rankscope.compare(net(5), net(3), inputs=ids(), measures="mu_bar", align="depth")
    assert by_depth.pairs[0].unmatched_reference == ()
    assert [note.code for note in by_depth.notes] == ["RS624"]


def slow_chances(differences: np.ndarray) -> np.ndarray:
    """Step-down over all patterns of signs, one by one, with the t statistic itself."""

    def t(rows: np.ndarray) -> np.ndarray:
        deviation = rows.std(axis=1, ddof=1) / np.sqrt(rows.shape[1])
        return np.abs(rows.mean(axis=1)) / np.maximum(deviation, 1e-300)

    seen = t(differences)
    patterns = [t(differences * np.array(p)) for p in itertools.product((1, -1), repeat=differences.shape[1])]
    found, running = np.ones(len(seen)), 0.0
    for j in sorted(range(len(seen)), key=lambda j: -seen[j]):
        family = [i for i in range(len(seen)) if seen[i] <= seen[j]]
        running = max(running, float(np.mean([p[family].max() >= seen[j] * (1 - 1e-9) for p in patterns])))
        found[j] = running
    return found


def test_the_chances_equal_their_slow_twin() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(6, 8)) + np.array([[3.0], [0.0], [0.5], [-8.0], [1.0], [20.0]])
    np.testing.assert_allclose(chances(rows), slow_chances(rows), rtol=1e-12)


@pytest.mark.parametrize("sequences", [8, 12, 40])
def test_noise_is_rarely_taken_for_a_difference(sequences: int) -> None:
    """Of families of 60 tests without a difference at most 1 % may show one; correlated as layers are."""
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(60):
        common = random.normal(size=(1, sequences))
        wrong += bool((chances(0.7 * common + 0.7 * random.standard_t(3, size=(60, sequences))) <= 0.01).any())
    assert wrong <= 4  # 0.6 are expected


def test_a_clear_difference_is_found_among_many() -> None:
    random = np.random.default_rng(2)
    rows = random.normal(size=(150, 32))
    rows[70] += 3
    assert [i for i, p in enumerate(chances(rows)) if p <= 0.01] == [70]


def test_fewer_than_the_least_can_never_be_sure() -> None:
    assert chances(np.ones((1, LEAST)))[0] <= 0.01 < chances(np.ones((1, LEAST - 1)))[0]


def test_intervals_hold_their_mean_and_do_not_change() -> None:
    rows = np.random.default_rng(3).normal(size=(20, 16)) + 2
    low, high = intervals(rows)
    assert (low < rows.mean(axis=1)).all()
    assert (high > rows.mean(axis=1)).all()
    again = intervals(rows)
    assert (low == again[0]).all()
    assert (high == again[1]).all()
    half = 2.576 * rows.std(axis=1) / 4
    np.testing.assert_allclose(high - low, 2 * half, rtol=0.2)


def changed(report: Report, change: Callable[[Any], Any]) -> Report:
    return replace(report, rows=tuple(change(row) for row in report.rows))


def sampled(row: Any, shift: float = 0.0) -> Any:
    """A row with eight samples around its value."""
    if row.value is None or row.scope != "sequence":
        return row
    samples = tuple(row.value + shift + 0.01 * (i - 3.5) for i in range(8))
    return replace(row, value=row.value + shift, samples=samples)


def test_what_cannot_be_compared_says_why() -> None:
    a = changed(a_report(2), sampled)

    def other(row: Any) -> Any:
        row = sampled(row, 0.1 if row.measure == "mu" else 0.0)
        if row.measure == "mu_bar":
            return replace(row, value=None, samples=(), status="undefined", reason="all tokens are zero")
        if row.measure == "stable_rank":
            return replace(row, version=2)
        if row.measure == "effective_rank_unit":
            return replace(row, value=row.value + 1, samples=row.samples[1:])
        if row.measure == "effective_rank":
            return replace(row, value=row.value + 1, samples=())
        return replace(row, value=row.value + 1) if row.measure == "grad_norm" else row

    b = changed(a_report(2), other)
    b = replace(b, rows=tuple(row for row in b.rows if row.measure != "participation_ratio"))
    found = {e.measure: e for e in rankscope.compare(a, b).pairs[0].differences}
    assert found["mu_bar"].reason == "the other: undefined, all tokens are zero"
    assert found["participation_ratio"].reason == "the other: not measured"
    assert found["stable_rank"].reason == "measured by version 1 and by version 2 of the measure"
    assert found["effective_rank"].reason == "no samples were saved"
    assert found["effective_rank_unit"].reason == "8 and 7 sequences: they cannot be paired"
    assert {found[name].outcome for name in ("effective_rank", "effective_rank_unit", "grad_norm")} == {"untested"}
    assert found["grad_norm"].reason == "one number of all sequences: nothing to resample"
    assert (found["mu"].outcome, found["mu"].difference) == ("differs", pytest.approx(0.1))


def test_what_two_machines_round_is_no_difference() -> None:
    a = changed(a_report(2), sampled)
    b = changed(a, lambda row: replace(row, value=row.value * (1 + 1e-5), samples=tuple(s + 1e-6 for s in row.samples)))
    assert "differ first" in rankscope.compare(a, b).sentence
    elsewhere = replace(b, environment={**b.environment, "threads": 8})
    found = rankscope.compare(a, elsewhere)
    assert "they differ nowhere" in found.sentence
    assert [note.code for note in found.notes] == ["RS623"]


def test_values_at_the_noise_floor_are_equal() -> None:
    def at(value: float) -> Callable[[Any], Any]:
        def change(row: Any) -> Any:
            if row.measure == "mu_bar":  # its floor is 2e-7
                return replace(row, value=value, samples=tuple(value * i for i in range(1, 9)))
            return row

        return change

    a = a_report(1)
    found = rankscope.compare(changed(a, at(1e-8)), changed(a, at(2e-8))).pairs[0]
    told = [(e.outcome, e.reason) for e in found.differences if e.measure == "mu_bar"]
    assert set(told) == {("equal", "both are at the noise floor")}
    assert found.first is None


def test_the_seeds_of_one_model_are_noise() -> None:
    a = changed(a_report(2, spec="zoo:net,depth=2"), sampled)
    b = changed(a_report(2, spec="zoo:net,depth=2,skip=off"), lambda row: sampled(row, 0.1))
    seed = changed(a_report(2, spec="zoo:net,depth=2,seed=1"), lambda row: sampled(row, 0.2))
    assert rankscope.compare(a, b).pairs[0].first is not None
    found = rankscope.compare(a, b, seed)
    assert [note.code for note in found.notes] == ["RS625"]
    within = [entry for entry in found.pairs[0].differences if entry.scope == "sequence"]
    assert {(e.outcome, e.reason) for e in within} == {("noise", "within the spread of the seeds")}
    assert found.pairs[1].first is not None  # two seeds are two models to each other
    beyond = changed(a_report(2, spec="zoo:net,depth=2,skip=off"), lambda row: sampled(row, 0.3))
    assert rankscope.compare(a, beyond, seed).pairs[0].first is not None


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    a = a_report(2)
    other = replace(a, inputs={**a.inputs, "sha256": "cd" * 32, "source": "input: other.npz"})
    with pytest.raises(InputError, match=r"other inputs than A, a\.json") as caught:
        rankscope.compare(saved(a, tmp_path / "a.json"), saved(other, tmp_path / "b.json"))
    assert (caught.value.code, caught.value.exit_code) == ("RS621", 3)
    assert dict(caught.value.details)["field"] == f"inputs.sha256: {'ab' * 6} and {'cd' * 6}"
    without = replace(a, inputs={})
    with pytest.raises(InputError, match="other inputs"):
        rankscope.compare(without, without)


def test_the_inputs_of_a_saved_report_are_drawn_again(tmp_path: Path) -> None:
    spec = "zoo:transformer,depth=2,width=16,heads=2"
    for options in ({}, {"random": "ids=3x9:int64:0..99", "seed": 5}):
        before = saved(rankscope.probe(spec, measures="mu_bar", **options), tmp_path / "a.json")
        found = rankscope.compare(before, f"{spec},skip=off", measures="mu_bar")
        assert found.subjects[1].report.inputs["sha256"] == found.inputs["sha256"]
        assert found.subjects[0].forward_seconds is None
        assert 0 < found.subjects[1].forward_seconds < 10
    before = saved(rankscope.probe(spec, ids(), measures="mu_bar"), tmp_path / "a.json")
    with pytest.raises(InputError, match="other inputs"):
        rankscope.compare(before, f"{spec},skip=off", measures="mu_bar")
    assert rankscope.compare(before, f"{spec},skip=off", inputs=ids(), measures="mu_bar").pairs


class Named(nn.Module):
    """The same with another name for its argument."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.inner(input_ids)


def test_batches_are_gathered_once_for_all() -> None:
    drawn = []

    def batches() -> Any:
        drawn.append(torch.randint(0, 256, (8, 16)))
        return [{"ids": drawn[-1]}]

    model = net(2)
    found = rankscope.compare(model, Named(model), model, inputs=batches, measures="mu_bar", align="depth")
    assert {e.outcome for pair in found.pairs for e in pair.differences} == {"equal"}
    assert len({report.inputs["sha256"] for report in found.reports}) == 1


@pytest.mark.parametrize("models", [(), ("only",)])
def test_one_model_is_nothing_to_compare(models: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="at least two") as caught:
        rankscope.compare(*models)
    assert caught.value.code == "RS620"


def test_an_unknown_alignment_or_option_is_told() -> None:
    with pytest.raises(UsageError, match="unknown alignment 'nane'"):
        rankscope.compare("a", "b", align="nane")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown option 'measure'"):
        rankscope.compare("baseline", "lambda-skip", measure="mu")


def test_names_that_match_nothing_are_refused() -> None:
    a, b = (changed(a_report(2), sampled) for _ in range(2))
    b = replace(b, layers=tuple(replace(layer, name=f"x{layer.name}") for layer in b.layers))
    with pytest.raises(CannotMeasure, match="no layer of the one matches") as caught:
        rankscope.compare(a, b, align="name")
    assert caught.value.code == "RS622"
    assert rankscope.compare(a, b).pairs[0].first is None
    with pytest.raises(CannotMeasure, match="no layer"):
        rankscope.compare(replace(a, layers=()), a)


def test_a_model_that_fails_on_the_inputs_of_the_first_is_told() -> None:
    with pytest.raises(InputError, match="embedding has 8 rows") as caught:
        rankscope.compare(net(2), net(2, vocab=8), inputs=ids(), measures="mu_bar")
    assert caught.value.details[-1] == ("model", "B, Transformer")


def test_hostile_numbers_do_not_break_it() -> None:
    """Nothing finite, nothing there, and zeros."""
    a = changed(a_report(2), sampled)
    zero = changed(a, lambda row: replace(row, value=0.0, samples=(0.0,) * len(row.samples)))
    for pair in (rankscope.compare(zero, a).pairs[0], rankscope.compare(a, zero).pairs[0]):
        assert all(entry.ratio in {0.0, None} for entry in pair.differences if entry.difference)
    nothing = changed(a, lambda row: replace(row, value=None, samples=(), status="error", reason="x"))
    found = rankscope.compare(a, nothing)
    assert "they have no number in common" in found.sentence
    assert {entry.outcome for entry in found.pairs[0].differences} == {"undefined"}


def without(report: Report, first: int, layers: int = 99, measures: tuple[str, ...] = ()) -> Report:
    """The report with the numbers of some layers gone, as after a NaN."""

    def change(row: Any) -> Any:
        lost = first <= row.layer_index < first + layers and (not measures or row.measure in measures)
        return replace(row, value=None, samples=(), status="undefined", reason="non-finite values") if lost else row

    found = changed(report, change)
    told = "rank_one_residual_unit is undefined: non-finite values"
    lost = any(row.value is None for row in found.rows)
    depth = tuple(replace(entry, verdict="undefined", layer=None, reason=told) for entry in found.depth)
    return replace(found, depth=depth) if lost else found


def test_nan_from_a_block_on_is_no_equality(twelve: tuple[nn.Module, Report]) -> None:
    model, before = twelve
    broken: Any = copy.deepcopy(model)
    with torch.no_grad():
        next(broken.blocks[4].parameters()).fill_(float("nan"))
    found = rankscope.compare(before, rankscope.probe(broken, ids(), **FORWARD))
    told = "B has no numbers from blocks.4 on (non-finite values); the 55 numbers that both have are equal"
    assert found.sentence == f"A healthy, B undefined; {told}"
    (gap,) = found.pairs[0].missing
    assert (gap.model, gap.layer, gap.layer_index, gap.every, gap.onwards) == ("B", "blocks.4", 5, True, True)
    assert gap.numbers == sum(entry.outcome == "undefined" for entry in found.pairs[0].differences)


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ((99,), (2,), "B has no numbers from blocks.1 on (non-finite values); the "),
        ((2,), (99,), "A has no numbers from blocks.1 on (non-finite values); the "),
        ((99,), (1, 1), "B has no numbers at blocks.0 (non-finite values); the "),
        ((99,), (0,), "B has no numbers from blocks.0.input on (non-finite values); they have no number in common"),
        ((99,), (1, 1, ("mu",)), "B has no mu at blocks.0 (non-finite values); the "),
        ((99,), (1, 9, ("mu", "mu_bar")), "B has no mu and mu_bar from blocks.0 on (non-finite values); the "),
        ((2,), (2,), "A has no numbers from blocks.1 on (non-finite values); B has no numbers from blocks.1 on "),
    ],
)
def test_missing_numbers_are_told_with_layer_and_reason(ours: Any, theirs: Any, told: str) -> None:
    report = changed(a_report(3), sampled)
    assert told in rankscope.compare(without(report, *ours), without(report, *theirs)).sentence


def test_gradients_alone_may_be_missing() -> None:
    report = changed(a_report(3), sampled)
    lost = changed(report, lambda r: replace(r, value=None, status="error", reason="x") if "grad" in r.measure else r)
    assert "B has no grad_norm from blocks.0.input on (x); the " in rankscope.compare(report, lost).sentence


def test_what_was_not_measured_is_not_equal_and_not_judged() -> None:
    report = changed(a_report(3), sampled)
    less = replace(report, rows=tuple(row for row in report.rows if row.measure == "mu_bar"), depth=())
    found = rankscope.compare(report, less)
    assert found.sentence.startswith("A healthy, B not judged; ")
    assert "measures were measured in A only; the 4 numbers that both have are equal" in found.sentence
    assert found.pairs[0].missing == ()


def test_a_verdict_without_numbers_says_why() -> None:
    report = changed(a_report(3), sampled)
    vague = replace(report, depth=tuple(replace(e, verdict="undefined", reason="one token") for e in report.depth))
    assert rankscope.compare(report, vague).sentence.startswith(
        "A healthy, B undefined: one token; they differ nowhere"
    )


def test_a_layer_that_only_one_has_is_in_the_sentence() -> None:
    def named(k: int) -> Report:
        return changed(a_report(k), lambda row: sampled(replace(row, value=1.5 if row.value is not None else None)))

    report = named(4)
    shorter = replace(
        report,
        rows=tuple(row for row in report.rows if row.layer_index < 4),
        layers=tuple(layer for layer in report.layers if layer.index < 4),
    )
    told = "blocks.3 is only in A; the "
    assert told in rankscope.compare(report, shorter).sentence
    assert "blocks.3 is only in B; the " in rankscope.compare(shorter, report).pairs[0].sentence
    assert "nowhere" not in rankscope.compare(report, shorter).sentence
    two = replace(shorter, layers=shorter.layers[:-1])
    assert "blocks.2 and blocks.3 are only in A" in rankscope.compare(report, two).sentence
    assert "beside none" in rankscope.compare(two, report, align="depth").sentence


def test_several_pairs_have_a_line_each() -> None:
    report = changed(a_report(3), sampled)
    report = replace(report, layers=tuple(replace(layer, name=f"{layer.name}\n") for layer in report.layers))
    worse = changed(report, lambda row: sampled(row, 0.3))
    lines = rankscope.compare(report, worse, report, worse).sentence.split("\n")
    assert [line.split(":")[0] for line in lines] == ["A, B, C and D healthy", "A and B", "A and C", "A and D"]


def test_where_noise_ends_and_a_difference_begins_reads_in_one_go() -> None:
    report = changed(a_report(3), sampled)

    def off(row: Any) -> Any:
        if row.scope != "sequence" or row.value is None:
            return row
        wild = tuple(row.value + (0.1 if i % 2 else -0.1) for i in range(8))
        return replace(row, value=row.value + 0.01, samples=wild) if row.layer_index < 2 else sampled(row, 0.2)

    found = rankscope.compare(report, changed(report, off)).sentence
    assert "; they differ first beyond noise at blocks.1 (" in found
    assert "), within noise already at blocks.0.input" in found


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dtype": "float64"}, "dtype would do nothing"),
        ({"inputs": ids()}, "inputs would do nothing"),
        ({"foo": 1}, "unknown option 'foo'"),
        ({"inputs": ids(), "seed": 3}, "inputs, seed would do nothing"),
    ],
)
def test_what_would_do_nothing_is_refused(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    report = a_report(2)
    for other in (report, saved(report, tmp_path / "b.json")):
        with pytest.raises(UsageError, match=told):
            rankscope.compare(report, other, **options)


def test_an_unknown_option_is_refused_whatever_is_compared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown option 'foo'"):
        rankscope.compare(saved(a_report(2), tmp_path / "a.json"), net(2), foo=1)


def test_inputs_of_a_report_are_said_to_be_its_own(tmp_path: Path) -> None:
    spec = "zoo:transformer,depth=2,width=16,heads=2"
    before = saved(rankscope.probe(spec, measures="mu_bar"), tmp_path / "a.json")
    (note,) = rankscope.compare(before, spec, measures="mu_bar", seed=3).notes
    assert note.code == "RS626"
    assert note.text.startswith("the inputs are those of A, a.json: random: ids=8x128:int64:0..255, seed 0")
    assert note.text.endswith("; seed 3 is that of random weights alone")
    (note,) = rankscope.compare(before, spec, measures="mu_bar").notes
    assert note.text.endswith(", seed 0")


class Wide(nn.Module):
    """Two blocks that take numbers of a width."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 2, 32, batch_first=True)
        self.inner = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def test_models_of_other_inputs_are_no_dead_end(tmp_path: Path) -> None:
    for first, other in ((net(2), Wide()), (Wide(), Wide(32)), (Wide(), net(2))):
        with pytest.raises(CannotMeasure, match="take different inputs; nothing makes them comparable") as caught:
            rankscope.compare(first, other, measures="mu_bar")
        assert caught.value.remedies == ()
        assert dict(caught.value.details)["inputs from"] == f"A, {type(first).__name__}"
    spec = "zoo:transformer,depth=2,width=16,heads=2"
    before = saved(rankscope.probe(spec, measures="mu_bar"), tmp_path / "a.json")
    with pytest.raises(CannotMeasure, match=r"B, a\.json take different inputs; nothing makes them comparable"):
        rankscope.compare(Wide(), before, measures="mu_bar")


def test_what_another_option_would_help_keeps_its_remedies() -> None:
    with pytest.raises(InputError, match="embedding has 8 rows") as caught:
        rankscope.compare("zoo:transformer,depth=2,width=16,heads=2", net(2, vocab=8), measures="mu_bar")
    assert caught.value.remedies
    given = ids(1).float().unsqueeze(-1).expand(-1, -1, 16)
    with pytest.raises(CannotMeasure) as caught_given:
        rankscope.compare(Wide(), net(2), inputs=given, measures="mu_bar")
    assert "nothing makes" not in str(caught_given.value)


def test_inputs_that_cannot_be_drawn_again_are_told(tmp_path: Path) -> None:
    before = saved(rankscope.probe(net(2), ids(), measures="mu_bar"), tmp_path / "a.json")
    with pytest.raises(InputError, match="what was given then must be given again"):
        rankscope.compare(before, net(2), measures="mu_bar")


def test_what_is_no_model_is_told_in_a_line() -> None:
    model = net(2)
    for wrong, told in (((model,), "Transformer alone was given"), (([model, model],), "one list was given")):
        with pytest.raises(UsageError, match=told) as caught:
            rankscope.compare(*wrong)
        assert len(str(caught.value)) < 200
    with pytest.raises(UsageError, match=r"a Tensor is no model") as caught:
        rankscope.compare(model, model, ids())
    assert "inputs=x" in str(caught.value)


def test_files_of_one_name_are_told_apart_without_an_absolute_path(tmp_path: Path) -> None:
    report = changed(a_report(2), sampled)
    paths = [tmp_path / "d1" / "r.json", tmp_path / "d2" / "r.json", tmp_path / "d2" / "deep" / "r.json"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        report.save(path)
    found = rankscope.compare(*paths)
    assert [subject.name for subject in found.subjects] == ["d1/r.json", "d2/r.json", "deep/r.json"]
    assert [subject.name for subject in rankscope.compare(paths[0], paths[0]).subjects] == ["r.json", "r.json"]
    for suffix in ("json", "csv", "md", "txt", "html"):
        found.save(tmp_path / f"side.{suffix}")
        text = (tmp_path / f"side.{suffix}").read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        assert "d1/r.json" in text
        assert "d2/r.json" in text


def test_an_edit_of_a_saved_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="an edit needs a model that runs") as raised:
        rankscope.compare(f"{path}+no_skip", path)
    assert raised.value.code == "RS133"


def test_an_edited_model_is_timed_as_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    from rankscope.comparison import probing

    model, seen, plain = net(2), [], probing.call

    def spied(model: nn.Module, batch: Batch) -> object:
        seen.append(plain(model, batch))
        return seen[-1]

    monkeypatch.setattr(probing, "call", spied)
    batch = Batch((ids(2),))
    source = edited(open_model(model), ("no_skip",))
    assert probing.forward_seconds(source, batch, MeasureOptions()) > 0
    with torch.no_grad(), rankscope.edit(model, "no_skip", ids(2)):
        wanted = model(ids(2))
    assert len(seen) == probing.PASSES
    assert all(torch.equal(output, wanted) for output in seen)
    assert not torch.equal(model(ids(2)), wanted)
