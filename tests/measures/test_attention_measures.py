"""Entropy of attention: closed forms, masks, and the maps for which there is none."""

import math

import pytest
import torch

from rankscope.measures import MEASURES
from rankscope.measures.attention_entropy import attention_entropy, uniform
from rankscope.measures.attention_entropy_ratio import attention_entropy_ratio


def everywhere(*shape):
    return torch.ones(*shape, dtype=torch.bool)


def even(allowed):
    return allowed / allowed.sum(-1, keepdim=True).clamp(min=1).double()


@pytest.mark.parametrize(("tokens", "entropy"), [(128, 4.43865), (2048, 7.20251)])
def test_uniform_causal_attention_gives_the_numbers_of_the_paper(tokens, entropy):
    causal = everywhere(tokens, tokens).tril()
    assert attention_entropy(even(causal), causal).item() == pytest.approx(entropy, abs=5e-6)
    ceiling, reference = uniform(even(causal), causal)
    assert ceiling.item() == pytest.approx(math.log(tokens))
    assert reference.item() == pytest.approx(entropy, abs=5e-6)
    assert attention_entropy_ratio(even(causal), causal).item() == pytest.approx(1)


@pytest.mark.parametrize(("queries", "keys"), [(6, 6), (3, 10), (10, 4)])
def test_uniform_attention_without_a_mask_gives_the_logarithm_of_the_keys(queries, keys):
    allowed = everywhere(queries, keys)
    assert attention_entropy(even(allowed), allowed).item() == pytest.approx(math.log(keys))
    assert uniform(even(allowed), allowed)[1].item() == pytest.approx(math.log(keys))


def test_known_maps():
    allowed = everywhere(4, 4)
    sink = torch.zeros(4, 4, dtype=torch.float64)
    sink[:, 0] = 1
    assert attention_entropy(sink, allowed).item() == 0
    assert attention_entropy(torch.eye(4, dtype=torch.float64), allowed).item() == pytest.approx(math.log(4))
    half = torch.zeros(4, 4, dtype=torch.float64)
    half[:, :2] = 0.5
    assert attention_entropy(half, allowed).item() == pytest.approx(math.log(2))
    assert attention_entropy_ratio(half, allowed).item() == pytest.approx(0.5)


def test_the_scale_of_the_weights_does_not_matter_but_their_share_does():
    weights = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    allowed = everywhere(3, 5, 5)
    torch.testing.assert_close(attention_entropy(7 * weights, allowed), attention_entropy(weights, allowed))
    assert bool((attention_entropy(weights, allowed) <= math.log(5)).all())


def test_under_a_causal_mask_the_ratio_may_pass_one():
    causal = everywhere(8, 8).tril()
    diagonal = torch.eye(8, dtype=torch.float64)
    assert attention_entropy_ratio(diagonal, causal).item() > 1


def test_a_query_that_may_attend_nowhere_is_left_out():
    allowed = everywhere(5, 4)
    allowed[2] = False
    weights = even(allowed)
    weights[2] = torch.tensor([1.0, 0, 0, 0])  # what an unmasked softmax would put there
    rest = [0, 1, 3, 4]
    assert attention_entropy(weights, allowed).item() == attention_entropy(weights[rest], allowed[rest]).item()
    assert uniform(weights, allowed)[1].item() == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    "weights",
    [
        torch.tensor([[0.5, 0.5], [1.5, -0.5]]),  # a signed mixer
        torch.zeros(2, 2),
        torch.tensor([[0.5, math.nan], [0.5, 0.5]]),
        torch.tensor([[0.5, math.inf], [0.5, 0.5]]),
    ],
    ids=["signed", "zeros", "nan", "infinity"],
)
def test_maps_without_an_entropy(weights):
    for measure in (attention_entropy, attention_entropy_ratio):
        assert math.isnan(measure(weights.double(), everywhere(2, 2)).item())
    both = torch.stack([weights.double(), torch.full((2, 2), 0.5, dtype=torch.float64)])
    assert attention_entropy(both, everywhere(2, 2, 2)).isnan().tolist() == [True, False]


def test_nothing_is_uniform_where_no_query_may_look_anywhere_nor_at_a_single_key():
    nowhere = ~everywhere(3, 3)
    assert math.isnan(attention_entropy(torch.full((3, 3), 1 / 3).double(), nowhere).item())
    single = torch.ones(5, 1, dtype=torch.float64)
    assert attention_entropy(single, everywhere(5, 1)).item() == 0
    assert math.isnan(attention_entropy_ratio(single, everywhere(5, 1)).item())


def test_half_precision_maps_are_near():
    weights = torch.softmax(torch.randn(16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64), -1)
    exact = attention_entropy(weights, everywhere(16, 16)).item()
    rounded = attention_entropy(weights.bfloat16().double(), everywhere(16, 16)).item()
    assert rounded == pytest.approx(exact, abs=1e-3)


def test_ratio_is_shown_beside_the_entropy_itself():
    assert MEASURES["attention_entropy_ratio"].companions == ("attention_entropy",)
    assert MEASURES["attention_entropy"].beside is uniform
