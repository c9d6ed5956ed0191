"""Closed forms, the identities and orderings of the definitions, and invariances."""

import math

import pytest
import torch
from cases import family
from hypothesis import given, settings
from hypothesis import strategies as st

from rankscope.measures import MEASURES, evaluate, in_form
from rankscope.spectra import spectrum

RANKS = ("effective_rank", "entropy_rank", "participation_ratio", "stable_rank", "numerical_rank")
SCALE_FREE = (*RANKS, "mu_bar", "mu_1inf", "token_similarity", "token_norm_ratio", "rank_one_residual", "rankme")
GENERIC = settings(deadline=None, max_examples=25)
MATRICES = st.builds(
    family,
    st.sampled_from(["gaussian", "inverse", "nearly_equal_3", "outlier_features", "sink_token"]),
    st.integers(4, 24),
    st.integers(2, 24),
    st.integers(0, 10_000),
)


def value(name, y):
    measure = MEASURES[name]
    return evaluate(measure, **{n: spectrum(y) if n == "spectrum" else y for n in measure.needs})[0].item()


def eye(n):
    return torch.eye(n, dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 4, 64])
@pytest.mark.parametrize("name", RANKS)
def test_identity_has_full_rank_and_condition_one(name, n):
    assert value(name, eye(n)) == pytest.approx(n, rel=1e-12)
    assert value("condition_number", eye(n)) == pytest.approx(1)
    assert value("rank_one_residual", eye(n)) == pytest.approx(math.sqrt(1 - 1 / n), abs=1e-12)


@pytest.mark.parametrize("name", RANKS)
def test_rank_one_and_two(name):
    assert value(name, torch.outer(torch.arange(1.0, 9), torch.ones(5)).double()) == pytest.approx(1, rel=1e-9)
    assert value(name, torch.diag(torch.tensor([1.0, 1, 0, 0, 0], dtype=torch.float64))) == pytest.approx(2, rel=1e-12)


@pytest.mark.parametrize(("size", "rank_one"), [(64, 1.0001), (4096, 1.0066)])
def test_rankme_of_an_exact_rank_one_is_above_one(size, rank_one):
    from rankscope.records import Spectrum

    sigma = torch.zeros(size, dtype=torch.float64)
    sigma[0] = 1
    got = MEASURES["rankme"].function(Spectrum(sigma, torch.zeros(size), size, size)).item()
    assert got == pytest.approx(rank_one, abs=5e-5)
    ones = Spectrum(torch.ones(size, dtype=torch.float64), torch.zeros(size), size, size)
    assert MEASURES["rankme"].function(ones).item() / size == pytest.approx(
        1 + 1e-7 * size * (math.log(size) - 1), 1e-4
    )


def test_known_values_of_token_measures():
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert value("mu", opposite) == pytest.approx(math.sqrt(2))
    assert value("mu_bar", opposite) == 1
    assert value("rank_one_residual", opposite) == pytest.approx(0, abs=1e-8)
    simplex = eye(5) - 0.2
    assert value("token_similarity", simplex) == pytest.approx(-0.25)
    assert value("token_similarity", opposite) == -1
    assert value("token_norm_ratio", torch.tensor([[1.0], [2.0], [3.0], [100.0]]).double()) == pytest.approx(40)
    equal = torch.full((6, 3), 0.1, dtype=torch.float64)
    assert [value(name, equal) for name in ("mu", "mu_bar", "mu_1inf", "token_norm_ratio")] == [0, 0, 0, 1]
    assert value("token_similarity", equal) == pytest.approx(1)


def test_zero_tokens_have_no_direction_and_are_left_out_of_cosines():
    y = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    assert value("token_similarity", y) == pytest.approx(1 / 3)
    cosine = MEASURES["value_cosine"].function
    assert cosine(y, torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 0]]).double()).item() == pytest.approx(0.5)
    assert value("token_norm_ratio", torch.cat([torch.zeros_like(y), y])) != value("token_norm_ratio", y)


@pytest.mark.parametrize(("lambda_1", "lambda_n"), [(0.5, 0.5), (2.0, 1.0), (5.0, -1.0), (1.0, 0.0)])
def test_value_cosine_of_a_mix(lambda_1, lambda_n):
    first = torch.tensor([[1.0, 0.0, 0.0]] * 4, dtype=torch.float64)
    cosine, ratio = 0.3, 1.7
    here = ratio * torch.tensor([[cosine, math.sqrt(1 - cosine**2), 0.0]] * 4, dtype=torch.float64)
    got = MEASURES["value_cosine"].function(lambda_1 * first + lambda_n * here, first).item()
    across = lambda_1 + lambda_n * ratio * cosine
    size = lambda_1**2 + 2 * lambda_1 * lambda_n * ratio * cosine + (lambda_n * ratio) ** 2
    assert got == pytest.approx(across / math.sqrt(size))


def test_values_of_other_widths_are_undefined():
    assert MEASURES["value_cosine"].function(torch.ones(2, 4, 3), torch.ones(2, 4, 5)).isnan().tolist() == [True, True]


def test_condition_of_a_linear_layer_on_white_inputs_is_that_of_its_map():
    n, d = 64, 6
    x = torch.linalg.qr(family("gaussian", n, d))[0] * math.sqrt(n)
    weight = family("gaussian", d, d, seed=1)
    gradient = x.T @ (x @ weight.T) / n
    sigma = torch.linalg.svdvals(weight)
    found = evaluate(MEASURES["grad_condition"], gradient_spectrum=spectrum(gradient, source_dtype=torch.float32))[0]
    assert found.item() == pytest.approx((sigma[0] / sigma[-1]).item(), rel=1e-9)


@GENERIC
@given(MATRICES)
def test_identities_of_mu(y):
    n = len(y)
    mu, mu_bar, gamma = value("mu", y), value("mu_bar", y), y.mean(0)
    assert mu**2 == pytest.approx((y.square().sum() - n * gamma.square().sum()).item(), rel=1e-6, abs=1e-9)
    unit = in_form(y, "unit")
    assert value("mu", unit) ** 2 == pytest.approx((n - 1) * (1 - value("token_similarity", y)), rel=1e-6, abs=1e-9)
    assert value("token_similarity", unit) == pytest.approx(value("token_similarity", y), abs=1e-12)  # needs no _unit
    tail = torch.linalg.svdvals(y)[1:].norm().item()
    assert mu >= tail * (1 - 1e-9)
    assert mu_bar >= value("rank_one_residual", y) * (1 - 1e-6) - 1e-7
    assert value("mu", unit) <= math.sqrt(n) * (1 + 1e-12)
    assert 0 <= mu_bar <= 1
    assert -1 / (n - 1) <= value("token_similarity", y) <= 1
    assert value("mu_1inf", y) <= 2 - 2 / n + 1e-12


@GENERIC
@given(MATRICES, st.sampled_from([-3.0, 1e-3, 2.0, 1e-30, 1e30, -1e200, 1e-200]))
def test_scaling(y, scale):
    assert value("mu", y * scale) / abs(scale) == pytest.approx(value("mu", y), rel=1e-9)
    for name in SCALE_FREE:
        assert value(name, y * scale) == pytest.approx(value(name, y), rel=1e-6, abs=1e-7), name


@GENERIC
@given(MATRICES, st.integers(0, 1000))
def test_rotation_permutation_and_shift(y, seed):
    generator = torch.Generator().manual_seed(seed)
    width = y.shape[1]
    rotated = y @ torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]
    permuted = y[torch.randperm(len(y), generator=generator)]
    for name in ("mu", *SCALE_FREE):
        if name != "mu_1inf":
            assert value(name, rotated) == pytest.approx(value(name, y), rel=1e-6, abs=1e-7), name
        assert value(name, permuted) == pytest.approx(value(name, y), rel=1e-6, abs=1e-7), name
    shift = 10 * torch.randn(width, generator=generator, dtype=torch.float64)
    assert value("mu", y + shift) == pytest.approx(value("mu", y), rel=1e-9)
    for name in ("effective_rank", "stable_rank", "participation_ratio"):
        shifted, still = in_form(y + shift, "centered"), in_form(y, "centered")
        assert value(name, shifted) == pytest.approx(value(name, still), rel=1e-6), name


def test_mu_bar_and_the_raw_ranks_see_a_shift():
    y = family("gaussian", 20, 5)
    for name in ("mu_bar", "effective_rank", "rank_one_residual"):
        assert value(name, y + 100) < 0.5 * value(name, y), name


@GENERIC
@given(MATRICES)
def test_ordering_of_the_ranks(y):
    ranks = [value(name, y) for name in ("stable_rank", "participation_ratio", "entropy_rank", "effective_rank")]
    for lower, higher in zip([1.0, *ranks], [*ranks, min(y.shape)], strict=True):
        assert lower <= higher * (1 + 1e-6)
    assert value("rank_one_residual", y) == pytest.approx(math.sqrt(max(0, 1 - 1 / ranks[0])), abs=1e-6)


def test_one_dominant_token_is_seen_by_the_raw_forms_only():
    y = family("gaussian", 40, 16)
    sunk = y.clone()
    sunk[0] *= 1000
    assert value("token_norm_ratio", sunk) > 500
    assert value("effective_rank", sunk) < 0.4 * value("effective_rank", y)
    assert value("effective_rank", in_form(sunk, "unit")) == pytest.approx(value("effective_rank", in_form(y, "unit")))


def test_mu_of_float64_tokens_that_differ_in_the_last_digits():
    noise = family("gaussian", 64, 16)
    y = 1e4 + 2.0**-20 * noise.round(decimals=3)
    exact = 2.0**-20 * in_form(((y - 1e4) * 2.0**20), "centered").norm().item()
    assert value("mu", y) == pytest.approx(exact, rel=1e-10)
