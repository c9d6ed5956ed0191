"""Norm of the first token's value over that of the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from rankscope.measures._forms import norm
from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor


@measure(
    bounds=(0.0, None),
    paper="after Zhou et al. 2024 (Value Residual, arXiv 2410.17897), and Guo et al. 2024 (arXiv 2410.13835)",
    formula="‖v_first‖ / mean of the other ‖v_i‖",
    undefined="the values of all tokens but the first are zero",
)
def value_drain(value: Tensor) -> Tensor:
    """How small the value of the first token is beside those of the others.

    ‖v_first‖ over the mean of the other ‖v_i‖, first being the first real token. Models that park their attention on
    the first token (an attention sink) learn to give it a value near zero, so that looking there adds nothing: small
    is such a value-state drain.

    Args:
        value: (*batch, tokens, width) float64, the values of this layer.

    Returns:
        (*batch), at least 0; about 1 where no token is special; NaN where the other values are all zero.

    Example:
        >>> import torch
        >>> value_drain(torch.tensor([[0.3, 0.4], [3.0, 4.0], [0.0, 5.0]])).item()
        0.1...
    """
    norms = norm(value, -1)
    others = norms[..., 1:].mean(-1)
    return torch.where(others > 0, norms[..., 0] / others, math.nan)
