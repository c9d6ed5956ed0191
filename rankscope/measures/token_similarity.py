"""Mean cosine between tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rankscope.measures._forms import norm
from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor


@measure(
    healthy="low",
    bounds=("−1/(N−1)", 1.0),
    paper="Zhou et al. 2024 (Value Residual, arXiv 2410.17897), Eq. 13",
    formula="mean over i ≠ j of cos(y_i, y_j)",
    undefined="fewer than two tokens differ from zero",
)
def token_similarity(tokens: Tensor) -> Tensor:
    """Mean cosine between different tokens; zero tokens, which have no direction, are left out.

    s = mean over i ≠ j of cos(y_i, y_j) (arXiv 2410.17897, Eq. 13), computed from the sum of the unit tokens as
    (‖Σ y_i/‖y_i‖‖² − N) / (N(N − 1)), which takes N·d steps where the pairs would take N²·d. It has no `_unit` form:
    cosines see directions alone, so that on unit tokens it is the same number.

    Args:
        tokens: (*batch, tokens, width) float64.

    Returns:
        (*batch) in [−1/(N−1), 1]; 1 when all tokens point one way, NaN with fewer than two that are not zero.

    Example:
        >>> import torch
        >>> token_similarity(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])).item()
        0.3333...
    """
    size = norm(tokens, -1).unsqueeze(-1)
    directions = torch.where(size != 0, tokens / size, 0.0)
    count = (size != 0).sum((-2, -1)).to(tokens.dtype)
    similarity = (directions.sum(-2).square().sum(-1) - count) / (count * (count - 1))
    return similarity.clamp(max=1).maximum(-1 / (count - 1))
