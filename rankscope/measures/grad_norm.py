"""Norm of the gradient at a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._forms import norm
from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor


@measure(
    bounds=(0.0, None),
    paper="this project's choice",
    formula="‖∂L/∂Y(k)‖_F",
    undefined="the gradient is not finite",
)
def grad_norm(gradient: Tensor) -> Tensor:
    """How strongly the loss depends on the output of a layer.

    ‖∂L/∂Y(k)‖_F of one backward pass. Its size depends on the loss; its course over depth does not.

    Args:
        gradient: (*batch, tokens, width) float64, of the loss with respect to the output of the layer.

    Returns:
        (*batch), at least 0.

    Example:
        >>> import torch
        >>> grad_norm(torch.tensor([[3.0], [4.0]])).item()
        5.0
    """
    return norm(gradient, (-2, -1))
