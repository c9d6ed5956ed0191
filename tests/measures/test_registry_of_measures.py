"""The contract of every registered measure, and of the decorator."""

import doctest
import inspect

import pytest
import torch
from cases import as_need, family

from rankscope.measures import MEASURES, Measure, evaluate, measure
from rankscope.measures._registry import SITES
from rankscope.records import Spectrum

EVERY = pytest.mark.parametrize("entry", MEASURES.values(), ids=lambda m: m.name)


def given_to(entry, y):
    return {need: as_need(need, y + i) for i, need in enumerate(entry.needs)}


def test_the_measures_of_the_definitions_are_there():
    assert set(MEASURES) == {
        *("mu", "mu_bar", "mu_1inf", "token_similarity", "token_norm_ratio"),
        *("effective_rank", "rankme", "entropy_rank", "participation_ratio", "stable_rank", "rank_one_residual"),
        *("numerical_rank", "condition_number", "singular_values", "value_cosine", "value_cosine_mixed"),
        *("value_delta", "value_drain", "value_spectrum", "attention_entropy", "attention_entropy_ratio"),
        *("grad_norm", "grad_norm_ratio", "representation_change", "contribution"),
        *("grad_condition", "grad_rank", "grad_effective_rank", "grad_stable_rank"),
    }


@EVERY
def test_says_all_that_a_page_about_it_needs(entry: Measure):
    for text in (entry.paper, entry.formula, entry.undefined, entry.summary):
        assert text.strip()
        assert "\n" not in text
    assert entry.summary.endswith(".")
    assert entry.description.startswith(entry.summary)
    assert "Args:" not in entry.description
    assert doctest.DocTestParser().get_examples(entry.function.__doc__), "a runnable example"
    assert entry.version >= 1
    assert set(entry.companions) <= set(MEASURES)
    assert "raw" in entry.forms
    assert {SITES[need] for need in entry.needs} == {entry.site}
    assert inspect.getmodule(entry.function).__name__ == f"rankscope.measures.{entry.name}", "one measure a file"


@EVERY
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
def test_works_on_any_batch_and_on_each_item_alike(entry, batch):
    y = torch.randn(*batch, 9, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value, error = evaluate(entry, **given_to(entry, y))
    assert value.shape == (*batch, *((6,) if entry.vector else ()))
    assert value.dtype == torch.float64
    assert (error is None) == (not entry.needs[0].endswith("spectrum"))
    if error is not None:
        assert error.shape == value.shape
        assert bool((error >= 0).all())
    for index, one in enumerate(y.reshape(-1, 9, 6)):
        alone, bound = evaluate(entry, **given_to(entry, one))
        torch.testing.assert_close(value.reshape(-1, *alone.shape)[index], alone, rtol=1e-13, atol=0)
        if error is not None:
            torch.testing.assert_close(error.reshape(-1, *alone.shape)[index], bound, rtol=1e-6, atol=1e-18)


@EVERY
def test_is_pure(entry):
    needs = given_to(entry, family("gaussian", 9, 6))

    def copies():
        return [
            (need.singular_values.clone(), need.error.clone()) if isinstance(need, Spectrum) else (need.clone(),)
            for need in needs.values()
        ]

    before, state = copies(), torch.get_rng_state()
    first, second = evaluate(entry, **needs), evaluate(entry, **needs)
    assert torch.equal(first[0], second[0])
    assert all(
        torch.equal(a, b) for old, new in zip(before, copies(), strict=True) for a, b in zip(old, new, strict=True)
    )
    assert torch.equal(torch.get_rng_state(), state)


@EVERY
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_works_inside_any_grad_mode_on_tensors_made_there(entry, mode):
    y = family("inverse", 9, 6)
    expected = evaluate(entry, **given_to(entry, y))
    with mode():
        got = evaluate(entry, **given_to(entry, y.clone()))
    assert not got[0].requires_grad
    assert torch.equal(got[0], expected[0])
    if expected[1] is not None:
        assert torch.equal(got[1], expected[1])


@EVERY
def test_range_is_kept_on_random_tokens(entry):
    low, high = entry.bounds
    for name in ("gaussian", "nearly_equal_3", "sink_token", "inverse"):
        value = evaluate(entry, **given_to(entry, family(name, 12, 7)))[0]
        assert not isinstance(low, float) or bool((value >= low - 1e-12).all())
        assert not isinstance(high, float) or bool((value <= high + 1e-12).all())


def test_the_decorator_refuses_unknown_needs():
    about = {"formula": "f", "paper": "p", "undefined": "u"}
    with pytest.raises(TypeError, match=r"asks for \['sigma'\]; it can need tokens, spectrum"):

        @measure(**about)
        def odd(sigma):
            return sigma

    with pytest.raises(TypeError, match="asks for nothing"):

        @measure(**about)
        def empty():
            return None

    with pytest.raises(TypeError, match="never had together"):

        @measure(**about)
        def mixed(tokens, gradient):
            return tokens, gradient

    assert not {"odd", "empty", "mixed"} & set(MEASURES)


def test_a_name_is_registered_once():
    assert "mu" in MEASURES
    with pytest.raises(ValueError, match="'mu' is registered twice"):

        @measure(formula="f", paper="p", undefined="u")
        def mu(tokens):
            return tokens


def test_the_decorator_gives_the_function_back():
    from rankscope.measures.mu import mu

    assert mu is MEASURES["mu"].function
    assert inspect.isfunction(mu)


def test_participation_ratio_alone_asks_for_no_spectrum():
    assert MEASURES["participation_ratio"].needs == ("tokens",)
    assert MEASURES["participation_ratio"].pooled
