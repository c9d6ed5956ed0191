"""Condition number of a weight gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._registry import measure
from rankscope.measures.condition_number import condition_number

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.records import Spectrum


@measure(
    healthy="low",
    bounds=(1.0, "2²³/max(shape)"),
    paper="as condition_number; its use on gradients is this project's choice",
    formula="σ_1/σ_r of G = ∂L/∂W, r = grad_rank",
    undefined="the gradient is zero",
    companions=("grad_rank",),
    min_tokens=1,
)
def grad_condition(gradient_spectrum: Spectrum) -> Tensor:
    """Strongest over weakest direction in which one backward pass changes a weight, among those above rounding.

    σ_1/σ_r of G = ∂L/∂W with r its numerical rank, which always stands beside it. Scaling the loss does not change it.

    Args:
        gradient_spectrum: singular values (*batch, n) of the gradient of the loss with respect to a weight.

    Returns:
        (*batch), at least 1; NaN for a zero gradient.

    Example:
        >>> import torch
        >>> from rankscope.spectra import spectrum
        >>> grad_condition(spectrum(torch.diag(torch.tensor([8.0, 2.0, 0.0])))).item()
        4.0
    """
    return condition_number(gradient_spectrum)
