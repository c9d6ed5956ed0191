"""Every measure in every form against its slow float64 twin, and its error bound against the truth."""

import math
from dataclasses import replace
from inspect import signature
from itertools import product

import naive
import numpy as np
import pytest
import torch
from cases import FAMILIES, SHAPES, as_need, family

from rankscope.measures import MEASURES, evaluate, in_form, resolve
from rankscope.records import Spectrum
from rankscope.spectra import Pooled, spectrum

REQUESTS = {f"{r.scope}:{r.name}": r for r in resolve(["full"])}
SINGULAR = resolve([f"singular_values{form}" for form in ("", "_centered", "_unit", "_unit_centered")])
IN_SEQUENCE = [*(r for r in REQUESTS.values() if r.scope == "sequence"), *SINGULAR]
POOLED = [*(r for r in REQUESTS.values() if r.scope == "pooled"), *(replace(r, scope="pooled") for r in SINGULAR)]
PLACES = (
    ((32, 40), torch.float32),
    ((32, 40), torch.bfloat16),
    ((48, 20), torch.float32),
    ((7, 5), torch.bfloat16),
    ((7, 5), torch.float64),
)
OF_RANK_ONE = ("equal", "rank_one", "parallel_up_to_sign")
"""Their other singular values are rounding, of which the float64 Gram matrix sees some 1e-8·σ_1."""


def needs(request, matrices, dtype, method="auto"):
    """What the pipeline would hand over: one matrix for each need, spectra of those that are asked for as such."""
    formed = [in_form(matrix, request.form) for matrix in matrices]
    return {
        need: spectrum(y, method=method, source_dtype=dtype) if need.endswith("spectrum") else as_need(need, y)
        for need, y in zip(request.needs, formed, strict=True)
    }


def for_twin(request, matrices):
    """The same, as a slow twin takes it."""
    formed = [torch.as_tensor(naive.in_form(matrix, request.form)) for matrix in matrices]
    return [y if n.endswith("spectrum") else as_need(n, y) for n, y in zip(request.needs, formed, strict=True)]


def inputs(request, name, shape, dtype):
    return [family(name, *shape, seed=seed, dtype=dtype) for seed in range(len(request.needs))]


def all_equal(y):
    return bool((y == y[:1]).all())


@pytest.mark.parametrize("request_", IN_SEQUENCE, ids=lambda r: r.name)
def test_agrees_with_its_slow_twin(request_):
    twin = getattr(naive, request_.measure.name)
    for name in FAMILIES:
        for shape, dtype in PLACES:
            matrices = inputs(request_, name, shape, dtype)
            value = evaluate(request_, **needs(request_, matrices, dtype))[0].numpy()
            if request_.form.endswith("centered") and all_equal(matrices[0]) and not request_.measure.vector:
                assert math.isnan(value), "nothing is left to measure"
                continue
            expected = np.asarray(twin(*for_twin(request_, matrices)))
            assert value.shape == expected.shape
            limit = 2e-5 if name in OF_RANK_ONE or all_equal(matrices[0]) else 1e-6
            most = limit * max(1.0, np.abs(expected).max())
            assert np.abs(value - expected).max() <= most, (name, shape, dtype, value, expected)


@pytest.mark.parametrize("request_", [r for r in IN_SEQUENCE if r.needs[0].endswith("spectrum")], ids=lambda r: r.name)
def test_error_bound_holds_on_every_family(request_):
    twin = getattr(naive, request_.measure.name)
    for name in FAMILIES:
        for shape in SHAPES[:2]:
            y = in_form(family(name, *shape), request_.form)
            if not y.any():
                continue
            expected = twin(y.numpy())  # the bound is of the solve, not of the form
            for method in ("auto", "gram64", "svd"):
                value, bound = evaluate(request_.measure, **{request_.needs[0]: spectrum(y, method=method)})
                off = np.abs(value.numpy() - expected)
                assert (off <= bound.numpy() + 1e-12 * np.max(expected)).all(), (name, shape, method)


def test_error_bounds_say_something():
    for name, limit in (("gaussian", 1e-10), ("inverse", 1e-8), ("equal", 3e-3)):
        y = family(name, 48, 64)
        for measure in ("effective_rank", "rankme", "entropy_rank", "stable_rank", "rank_one_residual"):
            _, bound = evaluate(MEASURES[measure], spectrum=spectrum(y, method="gram64"))
            assert bound.item() < limit, (name, measure)


@pytest.mark.parametrize("measure", [m for m in MEASURES.values() if m.pooled and not m.vector], ids=lambda m: m.name)
def test_error_bound_adds_up_errors_of_either_sign(measure):
    sigma = torch.tensor([3.0, 2.0, 1.0, 0.5, 1e-2], dtype=torch.float64)
    error = torch.full_like(sigma, 1e-7)
    exact = Spectrum(sigma, error, 5, 5)
    value, bound = evaluate(measure, spectrum=exact)
    worst = 0.0
    for signs in product((-1.0, 1.0), repeat=5):
        moved = sigma + torch.tensor(signs, dtype=torch.float64) * error
        worst = max(worst, (evaluate(measure, spectrum=replace(exact, singular_values=moved))[0] - value).abs().item())
    assert worst <= bound.item() * (1 + 1e-4)
    assert bound.item() <= worst * (1 + 1e-4), "and no more than that"


def test_error_bound_of_a_count_shows_that_it_may_jump():
    threshold = 4 * 2.0**-23
    sure = spectrum(torch.diag(torch.tensor([1.0, 1.0, 1.0, 3 * threshold])), method="gram64")
    unsure = spectrum(torch.diag(torch.tensor([1.0, 1.0, 1.0, threshold * 1.0001])), method="gram64")
    for measure, jump in (("numerical_rank", 1.0), ("condition_number", 1e5)):
        assert evaluate(MEASURES[measure], spectrum=sure)[1].item() < 1e4
        assert evaluate(MEASURES[measure], spectrum=unsure)[1].item() >= jump
    assert evaluate(MEASURES["numerical_rank"], spectrum=sure)[1].item() == 0


@pytest.mark.parametrize("request_", POOLED, ids=lambda r: f"pooled:{r.name}")
def test_pooled_is_the_measure_of_all_tokens_as_one_matrix(request_):
    twin = getattr(naive, request_.measure.name)
    for name in ("gaussian", "inverse", "sink_token", "deficient"):
        y = family(name, 60, 12)
        pool = Pooled()
        for piece in torch.tensor_split(in_form(y, "unit") if request_.form.startswith("unit") else y, [1, 20, 40]):
            pool.add(piece)
        solved = pool.spectrum(centered=request_.form.endswith("centered"))
        value, bound = evaluate(request_, spectrum=solved)
        expected = twin(naive.in_form(y, request_.form))
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7 * np.max(expected))
        assert (np.abs(value.numpy() - expected) <= bound.numpy() + 1e-9 * np.max(expected)).all()


@pytest.mark.parametrize("form", ["raw", "centered", "unit", "unit_centered"])
def test_forms_agree_with_their_twins(form):
    for name in FAMILIES:
        y = family(name, 20, 9)
        np.testing.assert_allclose(in_form(y, form), naive.in_form(y, form), rtol=1e-12, atol=1e-13)
    with pytest.raises(ValueError, match="form is one of"):
        in_form(y, "whitened")


def test_every_measure_has_a_twin_with_as_many_arguments():
    for measure in MEASURES.values():
        assert len(signature(getattr(naive, measure.name)).parameters) == len(measure.needs)
