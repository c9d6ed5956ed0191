"""Cosine of the values that attention gets to those of the first layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._registry import measure
from rankscope.measures.value_cosine import value_cosine

if TYPE_CHECKING:
    from torch import Tensor


@measure(
    bounds=(-1.0, 1.0),
    paper="after Zhou et al. 2024 (Value Residual, arXiv 2410.17897); the averaging is this project's",
    formula="mean over tokens of cos(V'_n[i], V_1[i])",
    undefined="the widths of the values differ between layers, or every value is zero",
)
def value_cosine_mixed(mixed_value: Tensor, first_value: Tensor) -> Tensor:
    """How much of the first layer's values attention gets at this layer, token by token.

    Mean over tokens of cos(V'_n[i], V_1[i]). V'_n is what enters attention, after a value residual has mixed earlier
    layers' values into V_n: λ1 V_1 + λ2 V_n, for instance. Where the model mixes nothing it equals `value_cosine`.

    Args:
        mixed_value: (*batch, tokens, width) float64, the values that enter attention at this layer.
        first_value: (*batch, tokens, width) float64, those of the first layer.

    Returns:
        (*batch) in [−1, 1]; NaN where the widths differ or no token counts.

    Example:
        >>> import torch
        >>> first, here = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> round(value_cosine_mixed(0.5 * first + 0.5 * here, first).item(), 4)
        0.7071
    """
    return value_cosine(mixed_value, first_value)
