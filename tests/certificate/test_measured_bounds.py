"""The additive and the seminorm certificate on random instances, against mu computed directly."""

from __future__ import annotations

import math

import pytest
import torch
from certified import mu, normal, unit
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rankscope.certificate import additive, seminorm


def mu_bar(tokens: Tensor) -> float:
    return mu(tokens) / tokens.norm().item()


def additive_run(seed: int, normed: bool = True) -> tuple[float, float, float] | None:
    """A stack of row-normalised layers: the bound, mu at the end, and the closest that a layer came to its own."""
    random = torch.Generator().manual_seed(seed)
    tokens, width, depth = (
        int(torch.randint(low, high, (), generator=random)) for low, high in ((2, 10), (2, 7), (1, 5))
    )
    stream = unit(normal(random, tokens, width) + 2 * normal(random, 1, width)) * (1 if normed else 5)
    bound, closest = mu(stream), 0.0
    lam = (-1.0) ** seed * math.exp(normal(random, 1).item() + 2)
    for _ in range(depth):
        branch = normal(random, tokens, tokens) @ stream @ normal(random, width, width) / tokens
        x = branch.norm(dim=-1).max().item() / abs(lam)
        if x >= 1:
            return None
        after = unit(branch + lam * stream)
        loss = math.sqrt(tokens) * additive.chord(x)
        closest = max(closest, abs(mu(after) - mu(stream)) / loss)
        bound, stream = bound - loss, after
    return bound, mu(stream), closest


def test_the_additive_certificate_holds_layer_by_layer_and_summed() -> None:
    runs = [run for seed in range(600) if (run := additive_run(seed)) is not None]
    assert len(runs) > 300
    assert all(bound <= end + 1e-9 and closest <= 1 + 1e-9 for bound, end, closest in runs)
    assert max(closest for *_, closest in runs) > 0.2
    assert sum(bound > 0 for bound, *_ in runs) > 50


def test_the_additive_certificate_is_false_without_unit_rows() -> None:
    """The mutation: rows of norm 5 are shrunk to 1 by the first layer."""
    runs = [run for seed in range(200) if (run := additive_run(seed, normed=False)) is not None]
    assert any(bound > end for bound, end, _ in runs)


def test_the_chord_is_the_exact_worst_case() -> None:
    """A row that is turned by arcsin x moves by ε(x); no direction of F moves it further."""
    turn = math.asin(0.5)
    row, turned = (torch.tensor([[math.cos(by), math.sin(by)]], dtype=torch.float64) for by in (0, turn))
    assert (turned - row).norm().item() == pytest.approx(additive.chord(0.5), rel=1e-12)
    random = torch.Generator().manual_seed(0)
    moves = unit(row + 0.5 * unit(normal(random, 2000, 2))) - row
    assert 0.99 * additive.chord(0.5) < moves.norm(dim=-1).max().item() <= additive.chord(0.5) + 1e-12


@given(st.floats(0, 1))
def test_the_chord_is_the_formula_and_has_an_inverse(x: float) -> None:
    assert additive.chord(x) == pytest.approx(math.sqrt(2 - 2 * math.sqrt(1 - x * x)), abs=1e-7)
    assert additive.ratio(additive.chord(x)) == pytest.approx(x, abs=1e-7)


def test_the_chord_keeps_its_digits_where_x_is_small() -> None:
    assert additive.chord(1e-9) == pytest.approx(1e-9, rel=1e-12)
    assert math.isnan(additive.chord(1.1))
    assert math.isnan(additive.chord(math.nan))


@given(st.lists(st.floats(1e-3, 10), min_size=1, max_size=8), st.floats(0.01, 8), st.integers(2, 64))
def test_the_smallest_lambda_of_the_additive_certificate(deltas: list[float], loss: float, tokens: int) -> None:
    least = additive.smallest_lambda(deltas, loss, tokens)

    def lost(lam: float) -> float:
        return math.sqrt(tokens) * sum(additive.chord(delta / lam) for delta in deltas)

    assert lost(least) <= loss * (1 + 1e-9)
    assert least == max(deltas) or lost(max(max(deltas), least * (1 - 1e-6))) >= loss * (1 - 1e-9)


def test_no_lambda_is_enough_where_nothing_may_be_lost() -> None:
    assert additive.smallest_lambda([1.0], 0.0, 4) == math.inf
    assert additive.smallest_lambda([0.0, 0.0], 0.0, 4) == 0


def blocks(count: int) -> list[tuple[float, Tensor, Tensor]]:
    """Random λ, Y and F."""
    random = torch.Generator().manual_seed(1)
    found = []
    for _ in range(count):
        tokens, width = (int(torch.randint(2, 10, (), generator=random)) for _ in range(2))
        lam, size = 3 * normal(random, 1).item(), math.exp(normal(random, 1).item())
        stream = normal(random, tokens, width) + normal(random, 1, width)
        found.append((lam, stream, size * normal(random, tokens, width)))
    return found


def test_the_seminorm_certificate_holds_for_any_block() -> None:
    for lam, stream, branch in blocks(500):
        found, end = seminorm.sizes(stream, branch), lam * stream + branch
        low, high = seminorm.mu_range(lam, found)
        assert low - 1e-9 <= mu(end) <= high + 1e-9
        assert seminorm.kept(lam, found) == pytest.approx(mu(end) / mu(stream), abs=1e-9)
        bar_low, bar_high = seminorm.mu_bar_range(lam, found)
        assert bar_low - 1e-9 <= mu_bar(end) <= bar_high + 1e-9


def test_the_seminorm_certificate_does_not_hold_for_mu_bar() -> None:
    """F = one large vector for all tokens: mu stays, mu_bar falls; its own bound says so."""
    _, stream, _ = blocks(1)[0]
    branch = torch.full_like(stream, 1e3)
    found = seminorm.sizes(stream, branch)
    assert seminorm.kept(1.0, found) == pytest.approx(1.0)
    assert mu_bar(stream + branch) < 0.01
    assert seminorm.mu_bar_range(1.0, found)[0] <= mu_bar(stream + branch)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_smallest_lambda_of_the_seminorm_certificate(sign: float) -> None:
    """From it on mu(λY + F) ≥ √a·mu(Y); just under it, not; √a + ρ is never too small."""
    tight = 0
    for _, stream, branch in blocks(300):
        found = seminorm.sizes(stream, branch)
        least = seminorm.smallest_lambda(found, 0.81, sign)
        for larger in (1.0, 1.5, 10.0):
            assert mu(sign * least * larger * stream + branch) >= 0.9 * mu(stream) - 1e-9
        assert least <= 0.9 + found.rho + 1e-9
        if least > 0.01:
            tight += 1
            assert mu(sign * 0.99 * least * stream + branch) < 0.9 * mu(stream)
    assert tight > 50


def test_equal_tokens_have_no_ratio() -> None:
    equal = torch.ones(5, 3, dtype=torch.float64)
    found = seminorm.sizes(equal, equal)
    assert found.mu == 0
    assert math.isnan(found.rho)
    assert math.isnan(seminorm.kept(1.0, found))
    assert math.isnan(seminorm.smallest_lambda(found, 0.5))
    assert math.isnan(seminorm.mu_bar_range(1.0, seminorm.sizes(0 * equal, 0 * equal))[0])
