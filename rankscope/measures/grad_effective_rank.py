"""Effective rank of a weight gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._registry import measure
from rankscope.measures.effective_rank import effective_rank

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.records import Spectrum


@measure(
    healthy="high",
    bounds=(1.0, "rank"),
    paper="as effective_rank (Roy & Vetterli 2007); its use on gradients is this project's choice",
    formula="exp(−Σ p_i ln p_i), p_i = σ_i/Σσ of G = ∂L/∂W",
    undefined="the gradient is zero",
    rank=True,
    min_tokens=1,
)
def grad_effective_rank(gradient_spectrum: Spectrum) -> Tensor:
    """In how many directions one backward pass changes a weight, by the entropy of the singular values.

    The effective rank of G = ∂L/∂W.

    Args:
        gradient_spectrum: singular values (*batch, n) of the gradient of the loss with respect to a weight.

    Returns:
        (*batch) in [1, rank]; NaN for a zero gradient.

    Example:
        >>> import torch
        >>> from rankscope.spectra import spectrum
        >>> grad_effective_rank(spectrum(torch.diag(torch.tensor([5.0, 5.0, 0.0])))).item()
        2.0...
    """
    return effective_rank(gradient_spectrum)
