"""Measures that give several numbers: closed forms, sums that must come out, and error bounds."""

import math

import pytest
import torch
from cases import FORMS, failure_inputs, family, known_spectrum

from rankscope.measures import MEASURES, evaluate, in_form
from rankscope.spectra import Pooled, spectrum

INPUTS = failure_inputs()


def singular(y, **how):
    return evaluate(MEASURES["singular_values"], spectrum=spectrum(y, **how))


def of_values(y):
    return evaluate(MEASURES["value_spectrum"], values_spectrum=spectrum(y))


def test_known_singular_values():
    sigma = torch.tensor([8.0, 4.0, 1.0, 0.5], dtype=torch.float64)
    y, expected = known_spectrum(16, 4, sigma)
    value, error = singular(y)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    assert bool(((value - expected).abs() <= error + 1e-12).all())
    torch.testing.assert_close(of_values(y)[0], expected**2 / 16, rtol=1e-12, atol=0)


def test_eigenvalues_of_the_values_add_up_to_their_mean_square():
    y = family("outlier_features", 30, 12)
    assert of_values(y)[0].sum().item() == pytest.approx(y.square().sum(1).mean().item(), rel=1e-9)
    assert of_values(y[:5])[0].shape == (5,)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_agrees_with_numpy(form):
    y = in_form(family("inverse", 20, 9), form)
    torch.testing.assert_close(singular(y)[0], torch.linalg.svdvals(y), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", ["gram64", "svd"])
def test_each_number_is_within_its_bound(method):
    y = family("exponential", 24, 16)
    value, error = singular(y, method=method)
    assert error.shape == value.shape
    assert bool(((value - torch.linalg.svdvals(y)).abs() <= error + 1e-15).all())


def test_zeros_have_zeros_and_equal_tokens_one():
    assert singular(INPUTS["zeros"])[0].tolist() == [0.0] * 8
    assert of_values(INPUTS["zeros"])[0].tolist() == [0.0] * 8
    one = singular(INPUTS["identical"])[0]
    assert one[0].item() == pytest.approx(math.sqrt(16) * INPUTS["identical"][0].norm().item())
    assert one[1].item() < 1e-6 * one[0].item()


@pytest.mark.parametrize("case", ["nan", "infinity"])
def test_non_finite_input_is_refused_by_the_solver(case):
    with pytest.raises(ValueError, match="finite"):
        singular(INPUTS[case])


def test_pooled_singular_values_are_those_of_all_tokens_as_one_matrix():
    y = family("gaussian", 40, 6)
    pool = Pooled()
    pool.add(y[:13])
    pool.add(y[13:])
    value, _ = evaluate(MEASURES["singular_values"], spectrum=pool.spectrum(centered=False))
    torch.testing.assert_close(value, torch.linalg.svdvals(y), rtol=1e-9, atol=0)
