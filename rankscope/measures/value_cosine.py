"""Cosine of the values to those of the first layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from rankscope.measures._forms import in_range, norm
from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor


@measure(
    bounds=(-1.0, 1.0),
    paper="after Zhou et al. 2024 (Value Residual, arXiv 2410.17897); the averaging is this project's",
    formula="mean over tokens of cos(V_n[i], V_1[i])",
    undefined="the widths of the values differ between layers, or every value is zero",
    version=2,
)
def value_cosine(value: Tensor, first_value: Tensor) -> Tensor:
    """How much of the first layer's values is left in the values of this layer, token by token.

    Mean over tokens of cos(V_n[i], V_1[i]), the heads side by side as they are; tokens where either is zero are left
    out. V_n is what this layer makes of its input, before a model with a value residual mixes V_1 into it; what
    attention gets is measured by `value_cosine_mixed`.

    Args:
        value: (*batch, tokens, width) float64, the values of this layer.
        first_value: (*batch, tokens, width) float64, those of the first layer.

    Returns:
        (*batch) in [−1, 1]; NaN where the widths differ or no token counts.

    Example:
        >>> import torch
        >>> value_cosine(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0, 0.0], [3.0, 0.0]])).item()
        0.5
    """
    if value.shape[-1] != first_value.shape[-1]:
        return value.new_full(value.shape[:-2], math.nan)
    size, first_size = norm(value, -1), norm(first_value, -1)
    cosines: Tensor = torch.linalg.vecdot(value, first_value) / size / first_size
    sure = in_range(size) & in_range(first_size)
    if not bool(sure.all()):
        units = value / size.unsqueeze(-1), first_value / first_size.unsqueeze(-1)
        cosines = torch.where(sure, cosines, torch.linalg.vecdot(*units))
    directed = (size != 0) & (first_size != 0)
    return torch.where(directed, cosines.clamp(-1, 1), 0.0).sum(-1) / directed.sum(-1)
