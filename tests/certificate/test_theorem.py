"""Theorem 4.1 (arXiv 2410.10609) on random instances, its groups, and where it is false."""

from __future__ import annotations

import math

import pytest
import torch
from certified import mu, normal, unit
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rankscope.certificate.theorem import condition, norms, smallest_lambda, threshold


def draw(seed: int) -> tuple[torch.Generator, int, int, int, int, float]:
    """A random number generator, tokens, width, groups, layers and a."""
    random = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=random))

    a = 0.05 + 0.94 * torch.rand((), generator=random).item()
    return random, whole(2, 12), whole(2, 8), whole(1, 4), whole(1, 6), a


def branch(matrices: Tensor, values: Tensor | None, tokens: Tensor) -> Tensor:
    """Σ_g M_g Y C_g, or each group on its own features, as a loop."""
    if values is not None:
        return sum((m @ tokens @ c for m, c in zip(matrices, values, strict=True)), torch.zeros_like(tokens))
    parts = tokens.chunk(len(matrices), dim=1)
    return torch.cat([m @ part for m, part in zip(matrices, parts, strict=True)], dim=1)


def test_the_theorem_holds_on_random_instances() -> None:
    """400 stacks with the least admissible |λ|, both signs, several groups, half of them with the worst M there is."""
    for seed in range(400):
        random, tokens, width, groups, depth, a = draw(seed)
        start = unit(normal(random, tokens, width) + 2 * normal(random, 1, width))
        sign, adverse, size = (-1.0) ** seed, seed % 4 < 2, math.exp(normal(random, 1).item())
        if adverse:  # M draws every token to the mean against the sign of λ
            mix = -sign * (torch.eye(tokens, dtype=torch.float64) - 1 / tokens) * size
            layers = [(mix[None], torch.eye(width, dtype=torch.float64)[None])] * depth
        else:
            layers = [
                (size * normal(random, groups, tokens, tokens), normal(random, groups, width, width))
                for _ in range(depth)
            ]
        found = [norms(*layer) for layer in layers]
        s = max(float(c_m) for c_m, _ in found) * max(value for _, value in found)
        least = smallest_lambda(s, a, depth, (tokens, width), mu(start))
        stream = start
        for layer in layers:
            stream = unit(branch(*layer, stream) + sign * least * (1 + 1e-9) * stream)
        assert mu(stream) ** 2 >= a**depth * mu(start) ** 2 * (1 - 1e-9), seed


def test_it_holds_with_a_lambda_of_each_layer() -> None:
    """The least of the |λ| counts, and the signs may differ."""
    for seed in range(100):
        random, tokens, width, groups, depth, a = draw(seed)
        start = unit(normal(random, tokens, width) + normal(random, 1, width))
        layers = [(normal(random, groups, tokens, tokens), normal(random, groups, width, width)) for _ in range(depth)]
        found = [norms(*layer) for layer in layers]
        s = max(float(c_m) for c_m, _ in found) * max(value for _, value in found)
        least = smallest_lambda(s, a, depth, (tokens, width), mu(start)) * (1 + 1e-9)
        stream = start
        for k, layer in enumerate(layers):
            stream = unit(branch(*layer, stream) + (-1.0) ** k * least * (1 + k) * stream)
        assert mu(stream) ** 2 >= a**depth * mu(start) ** 2 * (1 - 1e-9), seed


def test_it_is_false_without_unit_rows() -> None:
    """The mutation that shows that the tests above can fail: rows of norm 100 are shrunk by D."""
    random = torch.Generator().manual_seed(0)
    start = 100 * unit(normal(random, 6, 3))
    matrix = torch.eye(6, dtype=torch.float64) / math.sqrt(6)
    b = threshold(50.0, 1.0, 0.5, 1, (6, 3))
    assert mu(start) ** 2 >= b
    assert mu(unit(matrix @ start + 50 * start)) ** 2 < 0.5 * mu(start) ** 2


@pytest.mark.parametrize("sliced", [False, True])
def test_the_bound_of_several_groups_is_one(sliced: bool) -> None:
    """‖F‖_F ≤ S·C_M·‖Y‖_F; of one group C_M and S are the norms themselves."""
    nearest = 0.0
    for seed in range(200):
        random, tokens, _, groups, _, _ = draw(seed)
        width = 3 * groups
        matrices, values = normal(random, groups, tokens, tokens), normal(random, groups, width, width)
        c_m, s = norms(matrices, None if sliced else values)
        stream = normal(random, tokens, width)
        size = branch(matrices, None if sliced else values, stream).norm().item()
        assert size <= c_m.item() * s * stream.norm().item() * (1 + 1e-12)
        nearest = max(nearest, size / (c_m.item() * s * stream.norm().item()))
        if groups == 1:
            assert c_m.item() == pytest.approx(matrices[0].norm().item())
            assert s == pytest.approx(1.0 if sliced else torch.linalg.svdvals(values[0])[0].item())
    assert nearest > 0.3


def test_a_smaller_bound_would_be_wrong() -> None:
    """Two heads that agree add up: neither the largest of the heads nor their mean bounds them."""
    matrices = torch.full((2, 4, 4), 0.25, dtype=torch.float64)
    values = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    stream = torch.ones(4, 3, dtype=torch.float64)
    c_m, s = norms(matrices, values)
    size = branch(matrices, values, stream).norm()
    assert size.item() == pytest.approx(c_m.item() * s * stream.norm().item())
    assert size > matrices[0].norm() * torch.linalg.matrix_norm(values[0], 2) * stream.norm()


@given(a=st.floats(0.01, 0.99), s=st.floats(0.05, 20), lam=st.floats(0.02, 3000))
def test_the_condition_is_that_lambda_is_large_enough(a: float, s: float, lam: float) -> None:
    need = math.sqrt(a) * s / (1 - math.sqrt(a))
    if abs(lam - need) > 1e-6 * need:
        assert (condition(lam, s, a) > 0) == (lam > need)
        assert condition(-lam, s, a) == condition(lam, s, a)


@given(a=st.floats(0.05, 0.99), s=st.floats(0.05, 20), depth=st.integers(1, 24), mu=st.floats(0.5, 5))
def test_the_smallest_lambda_is_where_b_is_met(a: float, s: float, depth: int, mu: float) -> None:
    least = smallest_lambda(s, a, depth, (32, 16), mu)
    assert threshold(least * 1.001, s, a, depth, (32, 16)) <= mu**2 * (1 + 1e-6)
    assert threshold(least * 0.999, s, a, depth, (32, 16)) >= mu**2 * (1 - 1e-6)


def test_the_numbers_of_the_paper() -> None:
    """N = 128, d = 2560, K = 64, a = 0.9999, S = 1, C_M = √N: 2.3e5 by the first condition, 5.8e8 by both."""
    root = math.sqrt(128)
    first = math.sqrt(0.9999) * root / (1 - math.sqrt(0.9999))
    assert f"{first:.1e}" == "2.3e+05"
    assert f"{smallest_lambda(root, 0.9999, 64, (128, 2560), root):.1e}" == "5.8e+08"


def test_what_cannot_be_had() -> None:
    assert smallest_lambda(0.0, 0.5, 3, (8, 4), 1.0) == 0
    assert smallest_lambda(1.0, 0.5, 3, (8, 4), 0.0) == math.inf
    assert threshold(1.0, 5.0, 0.81, 3, (8, 4)) == math.inf
    assert threshold(1e6, 1.0, 1e-9, 1000, (8, 4)) == math.inf
    nan = torch.full((1, 2, 2), math.nan, dtype=torch.float64)
    c_m, s = norms(nan, nan)
    assert math.isnan(c_m.item())
    assert math.isnan(s)
