"""Distance of the values from those of the first layer."""

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
    paper="Zhou et al. 2024 (Value Residual, arXiv 2410.17897)",
    formula="‖V'_n − V_1‖_F / ‖V_1‖_F",
    undefined="the widths of the values differ between layers, or every value of the first layer is zero",
)
def value_delta(mixed_value: Tensor, first_value: Tensor) -> Tensor:
    """How far the values that attention gets are from those of the first layer, over the size of those.

    ‖V'_n − V_1‖_F / ‖V_1‖_F, with V'_n as it enters attention, after any value residual: the ΔV of the paper. 0 where
    every layer attends to V_1, as in SVFormer.

    Args:
        mixed_value: (*batch, tokens, width) float64, the values that enter attention at this layer.
        first_value: (*batch, tokens, width) float64, those of the first layer.

    Returns:
        (*batch), at least 0; NaN where the widths differ or the values of the first layer are all zero.

    Example:
        >>> import torch
        >>> value_delta(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]])).item()
        1.0
    """
    if mixed_value.shape[-1] != first_value.shape[-1]:
        return mixed_value.new_full(mixed_value.shape[:-2], math.nan)
    size = norm(first_value, (-2, -1))
    return torch.where(size > 0, norm(mixed_value - first_value, (-2, -1)) / size, math.nan)
