"""What a block adds to its stream."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from rankscope.measures._forms import norm
from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor


@measure(
    healthy="high",
    bounds=(0.0, None),
    paper="after Xie et al. 2023 (ResiDual, arXiv 2304.14802)",
    formula="‖Y(k) − Y(k−1)‖_F / ‖Y(k−1)‖_F",
    undefined="the output of the layer before is zero",
    in_full=False,
)
def contribution(tokens: Tensor, previous: Tensor) -> Tensor:
    """How much one layer adds to the stream, over the size of the stream.

    ‖Y(k) − Y(k−1)‖_F / ‖Y(k−1)‖_F. Where the layer is x + f(x), pre-norm or without a norm, the difference is f: of a
    deep Pre-LN stack it falls as the stream grows and each f does not. Where a norm follows the sum, what the norm does
    to the size counts as well.

    Args:
        tokens: (*batch, tokens, width) float64, the output of the layer.
        previous: (*batch, tokens, width) float64, that of the layer before it; for the first block its input.

    Returns:
        (*batch), at least 0; NaN where the output of the layer before is zero.

    Example:
        >>> import torch
        >>> contribution(torch.tensor([[6.0, 3.0]]), torch.tensor([[6.0, 8.0]])).item()
        0.5
    """
    size = norm(previous, (-2, -1))
    return torch.where(size != 0, norm(tokens - previous, (-2, -1)) / size, math.nan)
