"""Theorem 4.1 of the λ-skip paper (arXiv 2410.10609): which λ keeps the tokens apart, whatever the mixer does.

It is about layers Y(k+1) = D(k)(F(k) + λ Y(k)), F(k) = M(k) Y(k) C_V(k), whose rows D(k) scales to unit norm, and which
begin with unit rows. With C_M = sup_k ‖M(k)‖_F, S = sup_k ‖C_V(k)‖_2, s = S·C_M, N tokens of width d and 0 < a < 1:

    λ² − a(s + |λ|)² > 0  and  mu(Y(0))² ≥ b = a^(−K)·2|λ|N·d·s / (λ² − a(s + |λ|)²)  give  mu(Y(K))² ≥ a^K mu(Y(0))².

Several groups, F = Σ_g M_g Y C_g, and a λ of each layer's own [derived]. All that is needed of F is ‖F‖_F ≤ s·√N:
a row of Y' is at most 2‖F_i‖/|λ| away from the row of sign(λ)·Y, so mu(Y') ≥ mu(Y) − 2s√N/|λ|. From
λ² − a(s + |λ|)² ≥ 2|λ|N·d·s/mu² follows 2s√N/|λ| ≤ (1 − a)·mu·t/(d + a·t²) with t = mu/√N ≤ 1, and that is at most
(1 − √a)·mu for d ≥ 2. So one layer keeps √a of mu where mu(Y)² is at least b of K = 0, which falls as |λ| grows; layer
by layer this is the theorem with the least of the |λ|. `norms` gives a C_M and an S that hold for several groups.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def norms(matrices: Tensor, values: Tensor | None = None) -> tuple[Tensor, float]:
    """C_M and S with ‖Σ_g M_g Y C_g‖_F ≤ S·C_M·‖Y‖_F for every Y; of one group ‖M‖_F and ‖C‖_2.

    F = [M_1 … M_G] · (Y C_1; …; Y C_G), the second factor being Y [C_1 … C_G] cut in pieces and stacked. So ‖F‖_F ≤
    ‖[M_1 … M_G]‖_2 ‖Y [C_1 … C_G]‖_F ≤ C_M·S·‖Y‖_F with C_M² = Σ_g ‖M_g‖_F² and S = ‖[C_1 … C_G]‖_2. Where each
    group has features of its own, ‖F‖_F² = Σ_g ‖M_g Y_g‖_F² ≤ max_g ‖M_g‖_F²·Σ_g ‖Y_g‖_F²: C_M = max_g ‖M_g‖_F, S = 1.

    Args:
        matrices: (*batch, groups, tokens, tokens) float64.
        values: (groups, width, width) float64; None where each group has its own slice of the features.

    Returns:
        C_M (*batch), and S.

    Example:
        >>> norms(torch.eye(3).repeat(2, 1, 1))
        (tensor(1.7321), 1.0)
    """
    each = torch.linalg.matrix_norm(matrices)  # (*batch, groups)
    if values is None:
        return each.amax(-1), 1.0
    side_by_side = values.transpose(0, 1).flatten(1)  # (width, groups · width)
    size = torch.linalg.matrix_norm(side_by_side, 2) if bool(side_by_side.isfinite().all()) else side_by_side.sum()
    return torch.linalg.vector_norm(each, dim=-1), size.item()


def condition(lam: float, s: float, a: float) -> float:
    """λ² − a(s + |λ|)², which the theorem wants above 0: the same as |λ| > √a·s/(1 − √a).

    Args:
        lam: λ.
        s: S·C_M.
        a: 0 < a < 1.

    Returns:
        Any number.

    Example:
        >>> condition(4.0, 1.0, 0.25)
        9.75
    """
    return lam**2 - a * (s + abs(lam)) ** 2


def threshold(lam: float, s: float, a: float, depth: int, size: tuple[int, int]) -> float:
    """b, the least mu(Y(0))² with which the theorem holds; with unit rows mu² is at most N.

    Args:
        lam: λ, the least in absolute value.
        s: S·C_M.
        a: 0 < a < 1.
        depth: K, the number of layers.
        size: tokens N and width d.

    Returns:
        At least 0; inf where λ² − a(s + |λ|)² is not above 0, or where a^(−K) is beyond float64.

    Example:
        >>> threshold(4.0, 1.0, 0.25, 1, (8, 4)), threshold(1.0, 1.0, 0.25, 1, (8, 4))
        (105.02564102564102, inf)
    """
    gap = condition(lam, s, a)
    tokens, width = size
    return _over(depth, a) * 2 * abs(lam) * tokens * width * s / gap if gap > 0 else math.inf


def smallest_lambda(s: float, a: float, depth: int, size: tuple[int, int], mu: float) -> float:
    """The least |λ| with which the theorem holds for these tokens: the positive root of λ² − a(s + λ)² = c·λ.

    c = a^(−K)·2N·d·s/mu(Y(0))²; for large λ the root is c/(1 − a), far above what the first condition alone asks.

    Args:
        s: S·C_M.
        a: 0 < a < 1.
        depth: K, the number of layers.
        size: tokens N and width d.
        mu: mu(Y(0)).

    Returns:
        At least 0; inf where mu is 0 and s is not, or beyond float64.

    Example:
        >>> round(smallest_lambda(128**0.5, 0.9999, 64, (128, 2560), 128**0.5) / 1e8, 1)
        5.8
    """
    if s == 0:
        return 0.0
    if mu == 0:
        return math.inf
    c = _over(depth, a) * 2 * size[0] * size[1] * s / mu**2
    linear = 2 * a * s + c
    return (linear + math.hypot(linear, 2 * s * math.sqrt(a * (1 - a)))) / (2 * (1 - a))


def _over(depth: int, a: float) -> float:
    """a^(−K), inf beyond float64."""
    exponent = -depth * math.log(a)
    return math.exp(exponent) if exponent < 709 else math.inf
