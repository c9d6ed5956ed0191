"""Distance of the tokens from their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._forms import center, norm
from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor


def _spread(spread: Tensor) -> Tensor:
    return spread


@measure(
    forms=("raw", "unit"),
    healthy="high",
    bounds=(0.0, "√N on unit rows"),
    paper="Wu et al. 2024; arXiv 2410.10609, Eq. 5",
    formula="‖Y − 1γᵀ‖_F, γ = Yᵀ1/N",
    undefined="the tokens are not finite",
    of_moments=_spread,
)
def mu(tokens: Tensor) -> Tensor:
    """How far tokens are from all being equal: the Frobenius norm of what remains without the mean token.

    mu = ‖Y − 1γᵀ‖_F with γ the mean token: the measure that the λ-skip theory bounds (arXiv 2410.10609, Eq. 5). It
    scales with the activations; `mu_bar` does not.

    Args:
        tokens: (*batch, tokens, width) float64.

    Returns:
        (*batch), at least 0; 0 when all tokens are equal.

    Example:
        >>> import torch
        >>> mu(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item()
        1.41421...
    """
    return norm(center(tokens), (-2, -1))
