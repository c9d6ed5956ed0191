"""The additive certificate: how much of mu a layer with row norm can take off at most, measured and summed over depth.

Layers Y' = D(F + λY), D scaling rows to unit norm, on unit rows [derived]. A row of F is at most δ = max_i ‖F_i‖ long.
With x = δ/|λ| < 1 it turns a row of Y by at most arcsin x, that is by the chord ε(x) = √(2 − 2√(1 − x²)), and so

    |mu(Y') − mu(Y)| ≤ √N·ε(x)  and  mu(Y(K)) ≥ mu(Y(0)) − √N Σ_k ε(x_k).

Nothing is asked of F: it may hold an MLP, biases, any mixer. It is F as it was measured: another λ in an earlier layer
changes it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def chord(x: float) -> float:
    """ε(x) = √(2 − 2√(1 − x²)): how far a unit row moves that is turned by arcsin x.

    Args:
        x: δ/|λ|, 0 to 1.

    Returns:
        0 to √2; NaN outside, where the row may turn by any angle.

    Example:
        >>> chord(0.0), chord(1.0)
        (0.0, 1.4142135623730951)
    """
    if not 0 <= x <= 1:
        return math.nan
    return x * math.sqrt(2 / (1 + math.sqrt(1 - x * x)))  # the same, without the cancellation at small x


def ratio(moved: float) -> float:
    """The x at which a unit row moves so far: the inverse of `chord`.

    Args:
        moved: ε, at least 0.

    Returns:
        0 to 1; 1 from √2 on.

    Example:
        >>> round(ratio(chord(0.3)), 12)
        0.3
    """
    return moved * math.sqrt(1 - moved**2 / 4) if moved < math.sqrt(2) else 1.0


def smallest_lambda(deltas: Sequence[float], loss: float, tokens: int) -> float:
    """The least |λ| with which √N Σ_k ε(δ_k/|λ|) is at most `loss`, for δ_k as they are.

    Args:
        deltas: δ of each layer.
        loss: how much of mu may be lost.
        tokens: N.

    Returns:
        At least the largest δ; inf where nothing may be lost and some δ is not 0.

    Example:
        >>> lam = smallest_lambda([1.0, 2.0], 0.5, 4)
        >>> round(2 * (chord(1 / lam) + chord(2 / lam)), 9)
        0.5
    """
    most = max(deltas, default=0.0)
    if most == 0:
        return 0.0
    if not loss > 0:
        return math.inf

    def lost(lam: float) -> float:
        return math.sqrt(tokens) * math.fsum(chord(delta / lam) for delta in deltas)

    high = max(most, math.sqrt(2 * tokens) * math.fsum(deltas) / loss)  # since ε(x) ≤ √2·x
    low = most
    if lost(low) <= loss:
        return low
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if lost(middle) <= loss else (middle, high)
    return high
