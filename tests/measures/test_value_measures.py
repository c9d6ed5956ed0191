"""Values: closed forms, the identity of a mix, and what each measure answers where there is nothing to compare."""

import math

import pytest
import torch
from cases import family

from rankscope.measures.value_cosine import value_cosine
from rankscope.measures.value_cosine_mixed import value_cosine_mixed
from rankscope.measures.value_delta import value_delta
from rankscope.measures.value_drain import value_drain


@pytest.mark.parametrize(("first_weight", "own_weight"), [(0.5, 0.5), (2.0, 1.0), (5.0, -1.0), (0.4, 0.0)])
def test_mix_identity_holds_for_every_token(first_weight, own_weight):
    """cos(V', V_1) = (λ1 + λ2 r c) / √(λ1² + 2 λ1 λ2 r c + λ2² r²), per token, then averaged."""
    first, own = family("gaussian", 40, 12, seed=1), family("sink_token", 40, 12, seed=2)
    c = torch.nn.functional.cosine_similarity(own, first, dim=-1)
    r = own.norm(dim=-1) / first.norm(dim=-1)
    across = first_weight + own_weight * r * c
    size = first_weight**2 + 2 * first_weight * own_weight * r * c + (own_weight * r) ** 2
    mixed = first_weight * first + own_weight * own
    assert value_cosine_mixed(mixed, first).item() == pytest.approx((across / size.sqrt()).mean().item(), rel=1e-10)


def test_known_mixes():
    first, own = torch.tensor([[1.0, 0.0]] * 4).double(), torch.tensor([[0.0, 1.0]] * 4).double()
    assert value_cosine_mixed(0.5 * first + 0.5 * own, first).item() == pytest.approx(math.sqrt(0.5))
    assert value_cosine_mixed(first, first).item() == 1  # every layer attends to V_1, as in SVFormer
    assert value_delta(first, first).item() == 0
    assert value_delta(0.5 * first + 0.5 * own, first).item() == pytest.approx(math.sqrt(0.5))
    assert value_delta(torch.zeros_like(first), first).item() == 1


def test_the_measures_of_a_mix_that_mixes_nothing_agree():
    first, own = family("gaussian", 9, 5, seed=1), family("gaussian", 9, 5, seed=2)
    assert value_cosine_mixed(own, first).item() == value_cosine(own, first).item()


def test_values_of_other_widths_are_undefined_everywhere():
    here, there = torch.ones(2, 4, 3).double(), torch.ones(2, 4, 5).double()
    for measure in (value_cosine, value_cosine_mixed, value_delta):
        assert measure(here, there).isnan().tolist() == [True, True]


def test_nothing_is_far_from_values_that_are_all_zero():
    zeros, some = torch.zeros(5, 3).double(), family("gaussian", 5, 3)
    assert math.isnan(value_delta(some, zeros).item())
    assert value_delta(zeros, some).item() == 1


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_drain_is_the_first_norm_over_the_mean_of_the_others(scale):
    value = torch.tensor([[0.03, 0.04], [3.0, 4.0], [0.0, 15.0]]).double() * scale
    assert value_drain(value).item() == pytest.approx(0.005)
    assert value_delta(2 * value, value).item() == pytest.approx(1)


def test_drain_where_values_are_zero():
    value = torch.zeros(4, 3).double()
    assert math.isnan(value_drain(value).item())
    value[0] = 1
    assert math.isnan(value_drain(value).item()), "all the others are zero"
    value[1], value[0] = 1, 0
    assert value_drain(value).item() == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_values_never_become_a_number(bad):
    value = family("gaussian", 6, 4)
    first = value.clone()
    value[3, 1] = bad
    answers = [value_drain(value), value_delta(value, first), value_cosine_mixed(value, first)]
    assert all(math.isnan(answer.item()) for answer in answers)
