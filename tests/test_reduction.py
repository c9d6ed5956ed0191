"""Groups, samples and rows, against plain numpy."""

import math

import numpy as np
import pytest
import torch

from rankscope.cells import MOST_SHAPES, _few_shapes
from rankscope.collection import NOT_FINITE
from rankscope.errors import CaptureError
from rankscope.groups import groups
from rankscope.measures import bounds_beside, resolve
from rankscope.records import Layer
from rankscope.reduction import Reduction, WeightGradient

LAYER = Layer("h.*", 1, "h.0", "Block")


def rows(names, tokens, keep=None, **kwargs):
    reduction = Reduction(resolve(names), **kwargs)
    reduction.activation(LAYER, tokens, keep, 0)
    return {(row.measure, row.scope): row for row in reduction.rows()}


def mu(y):
    return np.linalg.norm(y - y.mean(0))


def erank(y):
    sigma = np.linalg.svd(y, compute_uv=False)
    p = sigma / sigma.sum()
    p = p[p > 0]
    return math.exp(-(p * np.log(p)).sum())


def test_groups_keep_every_real_token_and_its_place():
    tokens = torch.arange(24.0).reshape(2, 4, 3)
    keep = torch.tensor([[False, True, True, False], [True, True, True, True]])
    short, long = groups(tokens, keep, first=10)
    assert short.numbers == [10]
    assert torch.equal(short.tokens[0], tokens[0, 1:3])
    assert short.positions.tolist() == [[1, 2]]
    assert long.numbers == [11]
    assert torch.equal(long.tokens[0], tokens[1])


def test_large_activations_are_taken_in_chunks(monkeypatch):
    monkeypatch.setattr("rankscope.groups.CHUNK_BYTES", 8 * 4 * 3 * 2)
    sizes = [len(group.numbers) for group in groups(torch.zeros(5, 4, 3), None)]
    assert sizes == [2, 2, 1]


def test_samples_are_per_sequence_in_order_and_rows_their_mean():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(5, 9, 6, generator=generator)
    keep = torch.arange(9).expand(5, 9) < torch.tensor([9, 5, 9, 7, 5]).unsqueeze(1)
    found = rows(["mu", "effective_rank", "effective_rank_unit"], tokens, keep)
    real = [y[k].double().numpy() for y, k in zip(tokens, keep, strict=True)]
    np.testing.assert_allclose(found["mu", "sequence"].samples, [mu(y) for y in real], rtol=1e-12)
    np.testing.assert_allclose(found["effective_rank", "sequence"].samples, [erank(y) for y in real], rtol=1e-6)
    unit = [y / np.linalg.norm(y, axis=1, keepdims=True) for y in real]
    np.testing.assert_allclose(found["effective_rank_unit", "sequence"].samples, [erank(y) for y in unit], rtol=1e-6)
    row = found["mu", "sequence"]
    assert row.value == pytest.approx(np.mean(row.samples))
    assert (row.min, row.max) == (min(row.samples), max(row.samples))
    assert row.std == pytest.approx(np.std(row.samples))
    assert (row.sequences, row.tokens) == (5, 35)
    rank = found["effective_rank", "sequence"]
    assert rank.ceiling == pytest.approx(np.mean([6, 5, 6, 6, 5]))
    assert 0 <= rank.error < 1e-4


def test_pooled_is_one_matrix_of_all_real_tokens():
    tokens = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(1)) + 4
    keep = torch.arange(8).expand(3, 8) < torch.tensor([8, 6, 3]).unsqueeze(1)
    names = ["pooled:effective_rank", "pooled:effective_rank_centered", "pooled:effective_rank_unit"]
    found = rows(names, tokens, keep)
    real = tokens[keep].double().numpy()
    unit = real / np.linalg.norm(real, axis=1, keepdims=True)
    expected = [erank(real), erank(real - real.mean(0)), erank(unit)]
    got = [found[name.removeprefix("pooled:"), "pooled"] for name in names]
    np.testing.assert_allclose([row.value for row in got], expected, rtol=1e-6)
    assert {(row.sequences, row.tokens, row.min, row.samples) for row in got} == {(3, 17, None, ())}


def test_a_pool_of_too_few_tokens_or_of_zeros_says_so():
    names = ["pooled:effective_rank", "pooled:effective_rank_unit"]
    zeros, few = rows(names, torch.zeros(2, 8, 5)), rows(names, torch.ones(3, 1, 5))
    assert zeros["effective_rank", "pooled"].reason == "every value is zero (centred: all tokens are equal)"
    assert zeros["effective_rank_unit", "pooled"].reason == "fewer than 4 non-zero tokens"
    assert few["effective_rank", "pooled"].reason == "fewer than 4 tokens"
    assert {row.status for found in (zeros, few) for row in found.values()} == {"undefined"}


def test_a_pool_that_cannot_be_solved_costs_its_own_rows():
    tokens = torch.randn(2, 8, 5, dtype=torch.float64) * 1e200  # its squares are not finite
    found = rows(["mu_bar", "pooled:effective_rank", "pooled:effective_rank_unit"], tokens)
    assert found["effective_rank", "pooled"].status == "error"
    assert {found["mu_bar", "sequence"].status, found["effective_rank_unit", "pooled"].status} == {"ok"}


def test_a_sequence_without_real_tokens_is_left_out():
    tokens = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(4))
    keep = torch.arange(8).expand(3, 8) < torch.tensor([8, 0, 6]).unsqueeze(1)
    names = ["mu_bar", "mu_bar_unit", "effective_rank", "pooled:effective_rank"]
    found, others = rows(names, tokens, keep), rows(names, tokens[[0, 2]], keep[[0, 2]])
    assert {row.status for row in found.values()} == {"ok"}
    assert {key: row.value for key, row in found.items()} == {key: row.value for key, row in others.items()}


def test_zero_rows_are_left_out_of_the_unit_form():
    tokens = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(2))
    tokens[0, 2] = 0
    found = rows(["mu_bar", "mu_bar_unit"], tokens)
    y = tokens[0].double().numpy()
    rest = y[[0, 1, 3, 4, 5, 6, 7]]
    rest = rest / np.linalg.norm(rest, axis=1, keepdims=True)
    assert found["mu_bar_unit", "sequence"].samples[0] == pytest.approx(mu(rest) / np.linalg.norm(rest))
    assert found["mu_bar", "sequence"].samples[0] == pytest.approx(mu(y) / np.linalg.norm(y))


FULL = [
    request.name for request in resolve(["full"]) if request.measure.site == "block" and request.scope == "sequence"
]


def status(tokens):
    return {name: (row.status, row.reason, row.value) for (name, _), row in rows(FULL, tokens).items()}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_input_is_undefined_for_every_measure(value):
    tokens = torch.randn(1, 16, 8)
    tokens[0, 3, 2] = value
    assert set(status(tokens).values()) == {("undefined", NOT_FINITE, None)}


@pytest.mark.parametrize("tokens", [torch.randn(1, 1, 8), torch.randn(1, 3, 8)])
def test_fewer_than_four_tokens_are_undefined_for_every_measure(tokens):
    assert set(status(tokens).values()) == {("undefined", "fewer than 4 tokens", None)}


def test_of_zeros_the_norm_is_zero_and_everything_else_undefined():
    for name, (state, reason, value) in status(torch.zeros(1, 16, 8)).items():
        if name == "mu":
            assert (state, value) == ("ok", 0.0)
        else:
            assert state == "undefined", name
            assert reason, name


def test_three_non_zero_rows_are_too_few_for_the_unit_form():
    tokens = torch.zeros(1, 16, 8)
    tokens[0, :3] = torch.randn(3, 8)
    assert status(tokens)["mu_bar"][0] == "ok"
    assert status(tokens)["mu_bar_unit"][:2] == ("undefined", "fewer than 4 non-zero tokens")


def test_a_sequence_of_zeros_is_not_left_out_of_the_verdict():
    tokens = torch.randn(3, 16, 8, generator=torch.Generator().manual_seed(5))
    tokens[1] = 0
    assert status(tokens)["mu_bar_unit"][:2] == ("undefined", "fewer than 4 non-zero tokens in 1 of 3 sequences")


def test_tokens_so_small_that_their_squares_vanish_are_not_zero():
    tokens = torch.randn(2, 16, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    small, usual = (rows(["mu_bar_unit", "effective_rank_unit"], y) for y in (1e-200 * tokens, tokens))
    for key, row in usual.items():
        assert small[key].value == pytest.approx(row.value, rel=1e-12)


def test_equal_tokens_and_equal_up_to_a_thousandth():
    base = torch.randn(1, 1, 64, generator=torch.Generator().manual_seed(3))
    equal = status(base.expand(1, 32, 64).clone())
    assert equal["mu_bar"][2] == pytest.approx(0, abs=1e-7)
    assert equal["effective_rank"][2] == pytest.approx(1, abs=1e-4)
    near = status(base + 1e-3 * torch.randn(1, 32, 64, generator=torch.Generator().manual_seed(4)))
    assert near["mu_bar"][2] < 2e-3
    assert near["effective_rank_centered"][2] > 20


def test_a_measure_that_fails_is_an_error_row_and_the_others_stay(monkeypatch):
    def broken(*args, **kwargs):
        raise CaptureError("RS431", "the solver gave up")

    def not_converged(*args, **kwargs):
        raise torch.linalg.LinAlgError("not converged")

    monkeypatch.setattr("rankscope.moments.fast.svd", broken)
    monkeypatch.setattr("rankscope.moments.fast.eigenvalues", not_converged)
    reduction = Reduction(resolve(["mu", "stable_rank"]))
    reduction.activation(LAYER, torch.randn(2, 8, 4), None, 0)
    mu_row, rank_row = reduction.rows()
    assert mu_row.status == "ok"
    assert (rank_row.status, rank_row.value) == ("error", None)
    assert "the solver gave up" in rank_row.reason


def test_a_gradient_whose_spectrum_fails_is_an_error_row_too(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("the solver gave up")

    monkeypatch.setattr("rankscope.spectra.several.spectrum", broken)
    reduction = Reduction(resolve(["grad_condition"]))
    reduction.weight_gradients([WeightGradient(LAYER, "h.0.weight", torch.randn(4, 3), 8)])
    assert {(row.status, row.value) for row in reduction.rows()} == {("error", None)}


def test_what_stands_beside_many_lengths_is_near_that_of_each():
    lengths = torch.arange(6, 46)
    keep = torch.arange(46).expand(40, 46) < lengths.unsqueeze(1)
    tokens = torch.randn(40, 46, 12, generator=torch.Generator().manual_seed(6))
    names = ["effective_rank", "mu_bar"]
    found = rows(names, tokens, keep)
    each = [bounds_beside(resolve(["effective_rank"])[0], n, 12, torch.float32) for n in lengths.tolist()]
    rank = found["effective_rank", "sequence"]
    assert rank.ceiling == pytest.approx(np.mean([beside[0] for beside in each]), rel=0.01)
    assert rank.reference == pytest.approx(np.mean([beside[1] for beside in each]), rel=0.01)
    assert found["mu_bar", "sequence"].ceiling == 1
    shapes = [(n, 12) for n in lengths.tolist()]
    assert len(set(_few_shapes(shapes))) == MOST_SHAPES
    assert len(_few_shapes(shapes)) == 40
    assert _few_shapes(shapes[:16][::-1]) == shapes[:16], "few lengths are taken as they are"


def test_the_dominant_token_is_named_by_its_place_in_the_padded_sequence():
    tokens = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(5))
    tokens[1, 6] *= 100
    keep = torch.tensor([[True] * 8, [False] * 2 + [True] * 6])
    reduction = Reduction(resolve(["mu"]))
    reduction.activation(LAYER, tokens, keep, 4)
    dominant = reduction.dominant[LAYER]
    assert (dominant.sequence, dominant.token) == (5, 6)
    assert dominant.ratio > 30
