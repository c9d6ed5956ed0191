"""What stands beside a value: ceiling, Gaussian reference, noise floor."""

import math

import numpy as np
import pytest
import torch
from cases import FORMS

from rankscope.measures import MEASURES, _beside, bounds_beside, evaluate, in_form, resolve
from rankscope.spectra import spectrum


def beside(name, *args, **kwargs):
    return bounds_beside(resolve([name])[0], *args, **kwargs)


def measured(name, y, form):
    measure = MEASURES[name]
    formed = in_form(y, form)
    needs = {n: spectrum(formed) if n == "spectrum" else formed for n in measure.needs}
    return evaluate(measure, **needs)[0].mean().item()


@pytest.mark.parametrize(
    ("dtype", "shape", "floor"),
    [
        (torch.bfloat16, (128, 384), 1.13),
        (torch.bfloat16, (512, 768), 1.26),
        (torch.float16, (128, 384), 1.02),
        (torch.float16, (512, 768), 1.04),
        (torch.float32, (128, 384), 1.00),
        (torch.float64, (128, 384), 1.00),
    ],
)
def test_floor_of_the_effective_rank_is_that_of_the_definitions(dtype, shape, floor):
    assert beside("effective_rank", *shape, dtype)[2] == pytest.approx(floor, abs=6e-3)


@pytest.mark.parametrize(
    "name", ["effective_rank", "stable_rank", "participation_ratio", "rank_one_residual", "mu_bar"]
)
@pytest.mark.parametrize("shape", [(6, 5), (40, 64), (200, 16)])
def test_reference_is_the_value_of_gaussian_data(name, shape):
    y = torch.randn(300, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for form in MEASURES[name].forms:
        reference = beside(name if form == "raw" else f"{name}_{form}", *shape, torch.float32)[1]
        assert reference == pytest.approx(measured(name, y, form), rel=0.04), form


def test_reference_of_data_too_large_to_draw_agrees_with_drawing_it(monkeypatch):
    drawn = beside("effective_rank_unit", 300, 40, torch.float32)[1]
    monkeypatch.setattr("rankscope.measures._beside.MOST_NUMBERS", 1000)
    assert beside("effective_rank_unit", 301, 40, torch.float32)[1] == pytest.approx(drawn, rel=0.01)
    floor = beside("effective_rank", 301, 40, torch.bfloat16)[2]
    monkeypatch.undo()
    assert floor - 1 == pytest.approx(beside("effective_rank", 300, 40, torch.bfloat16)[2] - 1, rel=0.25)
    assert beside("mu_bar", 10**7, 4096, torch.float32)[1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_ceiling_is_what_the_shape_allows(form):
    name = "effective_rank" if form == "raw" else f"effective_rank_{form}"
    free = 19 if form.endswith("centered") else 20
    assert beside(name, 20, 64, torch.float32)[0] == free
    assert beside(name, 64, 20, torch.float32)[0] == 20
    ceiling, reference, floor = beside(name, 20, 64, torch.float32)
    assert 1 <= floor < reference < ceiling


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_residuals_settle_at_four_eps_of_the_dtype(dtype):
    for name in ("mu_bar", "mu_bar_unit", "rank_one_residual", "rank_one_residual_unit_centered"):
        ceiling, reference, floor = beside(name, 32, 16, dtype)
        assert ceiling == 1
        assert 0.8 < reference < 1
        assert floor == 4 * torch.finfo(dtype).eps
    assert beside("mu_bar", 32, 16, torch.bfloat16)[2] == pytest.approx(0.031, abs=5e-4)


def test_rank_of_a_weight_gradient_is_bounded_by_its_tokens():
    ceiling, reference, floor = beside("grad_rank", 96, 64, torch.float32, tokens=10)
    assert (ceiling, reference, floor) == (10, 10, 1)
    assert beside("grad_rank", 96, 64, torch.float32)[:2] == (64, 64)
    assert beside("grad_rank", 96, 64, torch.float32, tokens=5000)[:2] == (64, 64)
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(100, 96, 10, generator=generator, dtype=torch.float64)
    right = torch.randn(100, 10, 64, generator=generator, dtype=torch.float64)
    expected = evaluate(MEASURES["grad_effective_rank"], gradient_spectrum=spectrum(left @ right))[0].mean().item()
    got = beside("grad_effective_rank", 96, 64, torch.float32, tokens=10)[1]
    assert got == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", ["mu", "token_norm_ratio", "condition_number", "value_cosine", "grad_norm"])
def test_others_have_nothing_beside_them(name):
    assert beside(name, 32, 16, torch.float32) == (None, None, None)


def test_one_centered_token_has_nothing_beside_it():
    assert beside("effective_rank_centered", 1, 8, torch.float32) == (None, None, None)


def test_neither_generator_of_the_process_is_touched():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    first = beside("effective_rank_unit", 33, 17, torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_state, strict=True))
    bounds_beside.cache_clear()
    assert beside("effective_rank_unit", 33, 17, torch.bfloat16) == first, "the same in every run"
    assert all(math.isfinite(value) for value in first)


def test_fewer_draws_of_long_matrices_leave_the_reference_where_it_is(monkeypatch):
    names = ["effective_rank", "stable_rank_unit", "mu_bar_unit"]
    few = [beside(name, 4096, 8, torch.float32) for name in names]
    monkeypatch.setattr("rankscope.measures._beside.MOST_DRAWN", 1 << 22)
    caches = (_beside.bounds_beside, _beside._gaussian, _beside._scaled, _beside._rounded, _beside._rounded_rank_one)
    for each in caches:
        each.cache_clear()
    many = [beside(name, 4096, 8, torch.float32) for name in names]
    for each in caches:
        each.cache_clear()
    assert few != many
    for here, there in zip(few, many, strict=True):
        assert here == pytest.approx(there, rel=2e-3)


def test_what_is_drawn_beforehand_is_what_each_would_draw():
    names = [
        "effective_rank",
        "mu_bar_unit",
        "participation_ratio_centered",
        "pooled:stable_rank_unit",
        "grad_rank",
        "mu",
    ]
    places = [(request, 9, 14, torch.float32, 5 if request.name == "grad_rank" else None) for request in resolve(names)]
    caches = (_beside.bounds_beside, _beside._gaussian, _beside._rounded_rank_one)
    for cache in caches:
        cache.cache_clear()
    alone = [bounds_beside(*place) for place in places]
    for cache in caches:
        cache.cache_clear()
    _beside.draw([*places, *places])
    made = [(cache.cache_info().currsize, cache.cache_info().misses) for cache in caches[1:]]
    assert all(size == misses for size, misses in made), "each once"
    assert [bounds_beside(*place) for place in places] == alone
    assert [(cache.cache_info().currsize, cache.cache_info().misses) for cache in caches[1:]] == made, "nothing is left"


def test_a_participation_ratio_of_singular_values_makes_no_matrix(monkeypatch):
    y = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = MEASURES["participation_ratio"].function(y)
    monkeypatch.setattr(torch, "diag_embed", None)
    value, error = evaluate(MEASURES["participation_ratio"], spectrum=spectrum(y))
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    assert bool((error < 1e-12).all())
    assert evaluate(MEASURES["participation_ratio"], spectrum=spectrum(torch.zeros(2, 3)))[0].isnan().all()
