"""Numerical rank of a weight gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._registry import measure
from rankscope.measures.numerical_rank import numerical_rank

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.records import Spectrum


@measure(
    healthy="high",
    bounds=(1.0, "min(shape, tokens × uses)"),
    paper="as numerical_rank; its use on gradients is this project's choice",
    formula="#{σ_i > rtol·σ_1} of G = ∂L/∂W, rtol = max(shape)·2⁻²³",
    undefined="the gradient is zero",
    rank=True,
    min_tokens=1,
)
def grad_rank(gradient_spectrum: Spectrum) -> Tensor:
    """In how many directions one backward pass changes a weight.

    The numerical rank of G = ∂L/∂W. At most the number of tokens in the batch times the uses of W, whatever the shape.

    Args:
        gradient_spectrum: singular values (*batch, n) of the gradient of the loss with respect to a weight.

    Returns:
        (*batch), whole numbers, at least 1; NaN for a zero gradient.

    Example:
        >>> import torch
        >>> from rankscope.spectra import spectrum
        >>> grad_rank(spectrum(torch.diag(torch.tensor([1.0, 1e-3, 0.0])))).item()
        2.0
    """
    return numerical_rank(gradient_spectrum)
