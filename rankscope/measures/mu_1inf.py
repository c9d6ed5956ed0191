"""Dong's residual in the (1, ∞) norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._forms import center
from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor


@measure(
    forms=("raw", "unit"),
    healthy="high",
    bounds=(0.0, 2.0),
    paper="Dong, Cordonnier & Loukas 2021",
    formula="‖PY‖_{1,∞} / ‖Y‖_{1,∞}, ‖X‖_{1,∞} = √(max column abs sum · max row abs sum)",
    undefined="every token is zero",
)
def mu_1inf(tokens: Tensor) -> Tensor:
    """How far tokens are from all being equal, over their size, in the (1, ∞) norm of Dong et al. 2021.

    ‖PY‖_{1,∞} / ‖Y‖_{1,∞} with ‖X‖_{1,∞} = √(‖X‖_1·‖X‖_∞), as that paper plots it: the residual is taken to the mean
    token, not to the nearest vector.

    Args:
        tokens: (*batch, tokens, width) float64.

    Returns:
        (*batch) in [0, 2); 0 when all tokens are equal, NaN when all are zero.

    Example:
        >>> import torch
        >>> mu_1inf(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item()
        1.0
    """
    return _norm_1inf(center(tokens)) / _norm_1inf(tokens)


def _norm_1inf(matrix: Tensor) -> Tensor:
    size = matrix.abs()
    return size.sum(-2).amax(-1).sqrt() * size.sum(-1).amax(-1).sqrt()
