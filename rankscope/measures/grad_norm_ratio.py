"""Norm of the gradient at a layer over that at the last one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from rankscope.measures._registry import measure
from rankscope.measures.grad_norm import grad_norm

if TYPE_CHECKING:
    from torch import Tensor


@measure(
    bounds=(0.0, None),
    paper="this project's choice",
    formula="‖∂L/∂Y(k)‖_F / ‖∂L/∂Y(K)‖_F",
    undefined="the gradient at the last layer is zero",
)
def grad_norm_ratio(gradient: Tensor, last_gradient: Tensor) -> Tensor:
    """Whether the gradient vanishes or explodes on its way from the last layer to this one.

    ‖∂L/∂Y(k)‖_F / ‖∂L/∂Y(K)‖_F, K the last layer; scaling the loss does not change it.

    Args:
        gradient: (*batch, tokens, width) float64, of the loss with respect to the output of the layer.
        last_gradient: (*batch, tokens, width) float64, the same at the last layer.

    Returns:
        (*batch), at least 0; NaN when the last gradient is zero.

    Example:
        >>> import torch
        >>> grad_norm_ratio(torch.tensor([[3.0], [4.0]]), torch.tensor([[0.0], [2.0]])).item()
        2.5
    """
    last = grad_norm(last_gradient)
    return torch.where(last != 0, grad_norm(gradient) / last, math.nan)
