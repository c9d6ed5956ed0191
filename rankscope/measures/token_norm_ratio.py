"""Largest token norm over the median one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from rankscope.measures._forms import norm
from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor


def _ratio(norms: Tensor) -> Tensor:
    norms = norms.sort(-1).values
    count = norms.shape[-1]
    median = norms[..., (count - 1) // 2] / 2 + norms[..., count // 2] / 2
    return torch.where(median != 0, norms[..., -1] / median, math.nan)


@measure(
    healthy="low",
    bounds=(1.0, None),
    paper="after Sun et al. 2024 (massive activations)",
    formula="max ‖y_i‖ / median ‖y_i‖",
    undefined="more than half of the tokens are zero",
    of_moments=_ratio,
)
def token_norm_ratio(tokens: Tensor) -> Tensor:
    """How much the largest token outweighs the usual one.

    max ‖y_i‖ / median ‖y_i‖. One token of huge norm (an attention sink, a massive activation: Sun et al. 2024) drives
    the raw spectrum to rank one although every other token is as rich as before. Where this is large, read the unit
    forms.

    Args:
        tokens: (*batch, tokens, width) float64.

    Returns:
        (*batch), at least 1; NaN when the median is 0.

    Example:
        >>> import torch
        >>> token_norm_ratio(torch.tensor([[1.0], [2.0], [-3.0], [40.0]])).item()
        16.0
    """
    return _ratio(norm(tokens, -1))
