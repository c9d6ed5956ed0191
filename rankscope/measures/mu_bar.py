"""Distance of the tokens from their mean, over their size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._forms import norm
from rankscope.measures._registry import measure
from rankscope.measures.mu import mu

if TYPE_CHECKING:
    from torch import Tensor


def _ratio(spread: Tensor, size: Tensor) -> Tensor:
    return (spread / size).clamp(max=1)


@measure(
    forms=("raw", "unit"),
    healthy="high",
    bounds=(0.0, 1.0),
    paper="arXiv 2410.10609, experiments",
    formula="mu / ‖Y‖_F",
    undefined="every token is zero",
    residual=True,
    of_moments=_ratio,
)
def mu_bar(tokens: Tensor) -> Tensor:
    """How far tokens are from all being equal, over their size.

    mu_bar = ‖Y − 1γᵀ‖_F / ‖Y‖_F, what the λ-skip experiments plot (arXiv 2410.10609). Adding one vector to every token
    lowers it. Tokens that are parallel up to sign have mu_bar near 1: see `rank_one_residual`.

    Args:
        tokens: (*batch, tokens, width) float64.

    Returns:
        (*batch) in [0, 1]; 0 when all tokens are equal, NaN when all are zero.

    Example:
        >>> import torch
        >>> mu_bar(torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)).item()
        0.70710678...
    """
    return _ratio(mu(tokens), norm(tokens, (-2, -1)))
