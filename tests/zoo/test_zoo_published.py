"""What is published, or derived from it, of collapse with and without λ-skip (arXiv 2410.10609), in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankscope.zoo import build
from rankscope.zoo._parts import Attention, RowNorm
from rankscope.zoo.lambda_skip import LambdaSkipBlock
from rankscope.zoo.s4d import LTI

SSMS = ("mamba", "mamba2")


def mu_bar(y: torch.Tensor) -> float:
    return ((y - y.mean(-2, keepdim=True)).norm(dim=(-2, -1)) / y.norm(dim=(-2, -1))).mean().item()


def rank_one_residual(y: torch.Tensor) -> float:
    s = torch.linalg.svdvals(F.normalize(y, dim=-1))
    return (s[..., 1:].square().sum(-1) / s.square().sum(-1)).sqrt().mean().item()


def layers(model: nn.Module) -> list[torch.Tensor]:
    """What each block gives of random ids."""
    found: list[torch.Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, args, out: found.append(out))
    with torch.no_grad():
        model(torch.randint(256, (4, 32), generator=torch.Generator().manual_seed(0)))
    return found


def stack(options: str, depth: int = 24) -> nn.Module:
    return build(f"lambda_skip,depth={depth},width=32,heads=1,{options}").double()


def toy(lam: float) -> tuple[float, float]:
    """Cosine of two tokens in the plane after many layers D(tril(Y Yᵀ) Y + λ Y), and their mu."""
    y = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    for _ in range(1500):
        y = F.normalize(torch.tril(y @ y.T) @ y + lam * y, dim=-1)
    return (y[0] @ y[1]).item(), (y - y.mean(0)).norm().item()


@pytest.mark.parametrize("lam", [-1.51, -2.0, -5.0])
def test_under_the_threshold_two_tokens_end_orthogonal(lam: float) -> None:
    cosine, mu = toy(lam)
    assert abs(cosine) < 1e-6
    assert mu == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("lam", [-1.49, -1.4, -0.5, 0.0, 1.0])
def test_over_the_threshold_they_end_parallel_up_to_sign(lam: float) -> None:
    assert abs(toy(lam)[0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("causal", "exponent"), [(False, 3), (True, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_local_exponent_of_attention_without_skip(causal: bool, exponent: int, seed: int) -> None:
    """ln r of what leaves a layer against ln r of what enters it: 3 without mask, 1 with."""
    g = torch.Generator().manual_seed(seed)
    module = Attention(32, 1, causal=causal).double()
    for linear in (module.query, module.key, module.value, module.out):
        nn.init.normal_(linear.weight, std=32**-0.5, generator=g)
    base, rest = (torch.randn(1, tokens, 32, dtype=torch.float64, generator=g) for tokens in (1, 32))
    pairs = []
    with torch.no_grad():
        for size in (1e-2, 1e-3):
            y = F.normalize(base + size * rest, dim=-1)
            pairs.append((math.log(rank_one_residual(y)), math.log(rank_one_residual(module(y)))))
    (x0, y0), (x1, y1) = pairs
    assert (y0 - y1) / (x0 - x1) == pytest.approx(exponent, abs=0.01)


def test_attention_without_mask_collapses_doubly_exponentially_and_with_it_exponentially() -> None:
    open_, masked = ([rank_one_residual(y) for y in layers(stack(f"lam=0,causal={c}"))] for c in ("off", "on"))
    assert open_[2] < 1e-12
    assert 1e-6 < masked[7] < masked[0] / 2
    assert masked[-1] < 0.02


@pytest.mark.parametrize("mixer", SSMS)
def test_the_scale_of_a_selective_ssm_collapses_doubly_exponentially(mixer: str) -> None:
    """‖Y(K)‖ ~ c^(3^K) without skip and norm, since M is quadratic in Y, from unit rows on; mu_bar stays near 1."""
    blocks = stack(f"mixer={mixer},lam=0,norm=none", depth=5).blocks
    y = F.normalize(torch.randn(2, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=-1)
    sizes = []
    with torch.no_grad():
        # Of small tokens Δ is a constant, and one layer a form of degree 3.
        degree = torch.log10(blocks[0](1e-3 * y).norm() / blocks[0](1e-4 * y).norm()).item()
        for block in blocks[:4]:
            y = block(y)
            sizes.append(math.log(y.norm().item()))
            assert mu_bar(y) > 0.85
    assert degree == pytest.approx(3, abs=0.01)
    falls = [after - before for before, after in itertools.pairwise(sizes)]
    assert falls[0] < 0
    assert all(after < 2 * before for before, after in itertools.pairwise(falls))  # 3 times, but for the weights


@pytest.mark.parametrize("mixer", SSMS)
def test_with_row_norm_a_selective_ssm_collapses_up_to_sign(mixer: str) -> None:
    """sqrt(1 − 1/stable_rank_unit) falls exponentially; mu_bar does not, for the tokens are parallel up to sign."""
    found = layers(stack(f"mixer={mixer},lam=0"))
    assert rank_one_residual(found[0]) > 0.5  # the same number: ‖Y‖_F² = Σσ², so 1 − σ_1²/Σσ²
    assert rank_one_residual(found[-1]) < 1e-3
    assert all(mu_bar(y) > 0.85 for y in found)
    last = F.normalize(found[-1], dim=-1)
    assert (last @ last.mT).abs().min() > 1 - 1e-4


def test_an_lti_ssm_of_a_positive_kernel_collapses() -> None:
    """mu_bar falls, exponentially: all weights are positive, so that there is no sign to be lost."""
    torch.manual_seed(0)
    y = F.normalize(torch.randn(1, 32, 16, dtype=torch.float64), dim=-1)
    found = []
    with torch.no_grad():
        for _ in range(40):
            mixer = LTI(16, 1, 8, init="real", feedthrough=False).double()
            mixer.read_out.abs_()
            assert (mixer.kernel(32) > 0).all()
            y = LambdaSkipBlock(mixer, lambda width: RowNorm(), width=16, lam=0.0)(y)
            found.append(mu_bar(y))
    assert found[0] > 0.2
    assert found[-1] < 1e-4
    assert found[-1] / found[29] < 0.5


@pytest.mark.parametrize("mixer", ["attention", "linear_attention", "s4d", *SSMS])
@pytest.mark.parametrize("lam", [100, -100])
def test_a_large_lambda_keeps_the_tokens_apart(mixer: str, lam: int) -> None:
    found = layers(stack(f"mixer={mixer},lam={lam}"))
    assert rank_one_residual(found[-1]) > 0.9 * rank_one_residual(found[0])
    assert mu_bar(found[-1]) > 0.9 * mu_bar(found[0])


def test_a_small_lambda_does_not() -> None:
    assert rank_one_residual(layers(stack("lam=0.1"))[-1]) < 0.1
