"""The failure inputs: each measure has one stated answer to each, and none takes them for health."""

import math

import pytest
import torch
from cases import as_need, failure_inputs

from rankscope.measures import MEASURES, evaluate, in_form, resolve

INPUTS = failure_inputs()
NAN = math.nan
RANKS = {"effective_rank", "rankme", "entropy_rank", "participation_ratio", "stable_rank", "numerical_rank"}
OF_TOKENS = [m for m in MEASURES.values() if m.site != "weight_gradient"]
MATRICES = [m for m in MEASURES.values() if m.site != "attention" and not m.vector]
"""Attention maps and vectors have failure inputs of their own."""
NORMS = {"mu", "grad_norm"}


def answer(measure, y, form="raw"):
    """The value on one matrix, given in place of every need."""
    formed = in_form(y, form)
    return evaluate(measure, **{n: as_need(n, formed) for n in measure.needs})[0].item()


def expected(case, name):
    """What definitions §2 states, by the base name of the measure."""
    base = "numerical_rank" if name == "grad_rank" else name.removeprefix("grad_")
    if case == "zeros":
        return 0.0 if name in NORMS else NAN
    collapsed = 1.0 if base in RANKS or base in {"condition", "condition_number"} else 0.0
    ones = {"token_similarity", "token_norm_ratio", "value_cosine", "value_cosine_mixed", "value_drain", "norm_ratio"}
    return 1.0 if base in ones else collapsed


@pytest.mark.parametrize("measure", MATRICES, ids=lambda m: m.name)
@pytest.mark.parametrize("case", ["zeros", "identical"])
def test_zeros_and_identical_tokens(case, measure):
    if case == "identical" and measure.name == "grad_norm":
        assert answer(measure, INPUTS[case]) > 0
        return
    assert answer(measure, INPUTS[case]) == pytest.approx(expected(case, measure.name), abs=1e-4, nan_ok=True)


@pytest.mark.parametrize("measure", [m for m in MATRICES if m.pooled], ids=lambda m: m.name)
def test_identical_tokens_once_centered_leave_nothing(measure):
    for form in ("centered", "unit_centered"):
        assert math.isnan(answer(measure, INPUTS["identical"], form))


@pytest.mark.parametrize("name", sorted(RANKS))
def test_rank_one_is_one_and_gaussian_is_near_the_ceiling(name):
    assert answer(MEASURES[name], INPUTS["rank_one"]) == pytest.approx(1, abs=1e-4)
    assert 2.5 < answer(MEASURES[name], INPUTS["gaussian"]) <= 8


def test_tokens_that_agree_to_a_thousandth_collapse_by_mu_bar_and_the_raw_rank_only():
    y = INPUTS["identical_noise"]
    assert answer(MEASURES["mu_bar"], y) < 2e-3
    assert answer(MEASURES["rank_one_residual"], y) < 2e-3
    assert answer(MEASURES["effective_rank"], y) < 1.05
    assert answer(MEASURES["effective_rank"], y, "centered") > 6


@pytest.mark.parametrize("case", ["nan", "infinity"])
@pytest.mark.parametrize("measure", MEASURES.values(), ids=lambda m: m.name)
def test_a_non_finite_value_never_becomes_a_number(case, measure):
    for form in measure.forms:
        if measure.needs[0].endswith("spectrum"):
            with pytest.raises(ValueError, match="finite"):
                answer(measure, INPUTS[case], form)
        else:
            assert math.isnan(answer(measure, INPUTS[case], form)), form


@pytest.mark.parametrize("case", ["nan", "infinity"])
def test_a_non_finite_sequence_leaves_the_others_of_its_batch_alone(case):
    for measure in OF_TOKENS:
        if any(need.endswith("spectrum") for need in measure.needs):
            continue
        y = torch.stack([INPUTS["gaussian"], INPUTS[case]])
        got = measure.function(*(as_need(need, y) for need in measure.needs))
        alone = measure.function(*(as_need(need, y[:1]) for need in measure.needs))
        assert math.isnan(got[1].item())
        assert got[0].item() == alone[0].item()


@pytest.mark.parametrize("measure", [m for m in MEASURES.values() if not m.vector], ids=lambda m: m.name)
def test_bfloat16_data_are_near_the_float32_ones(measure):
    close = 0.01 + 0.01 * abs(answer(measure, INPUTS["gaussian"]))
    assert answer(measure, INPUTS["bfloat16"]) == pytest.approx(answer(measure, INPUTS["gaussian"]), abs=close)


def test_few_tokens_are_for_the_caller_to_leave_out():
    assert {measure.min_tokens for measure in OF_TOKENS} == {4}
    assert all(measure.min_tokens == 1 for measure in MEASURES.values() if measure.site == "weight_gradient")
    for case in ("one_token", "three_tokens"):  # yet no exception, and no rank above what there is
        for request in resolve(["full"]):
            if request.scope == "sequence" and not request.measure.vector:
                value = answer(request.measure, INPUTS[case], request.form)
                assert not (request.measure.rank and value > len(INPUTS[case]) + 1e-3)


@pytest.mark.parametrize("measure", [m for m in OF_TOKENS if not m.vector], ids=lambda m: m.name)
def test_no_input_is_all_zero_but_one_token(measure):
    y = torch.zeros(6, 3, dtype=torch.float64)
    y[2] = torch.tensor([1.0, -2.0, 0.5])
    value = answer(measure, y)
    stated = {"token_similarity": NAN, "token_norm_ratio": NAN, "value_cosine": 1.0, "grad_norm_ratio": 1.0}
    if measure.name in stated:
        assert value == pytest.approx(stated[measure.name], nan_ok=True)
    assert not math.isinf(value)
