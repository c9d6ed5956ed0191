"""Stable rank of a weight gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._registry import measure
from rankscope.measures.stable_rank import stable_rank

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.records import Spectrum


@measure(
    healthy="high",
    bounds=(1.0, "grad_effective_rank"),
    paper="as stable_rank (Rudelson & Vershynin 2007); its use on gradients is this project's choice",
    formula="Σσ²/σ_1² of G = ∂L/∂W",
    undefined="the gradient is zero",
    rank=True,
    min_tokens=1,
)
def grad_stable_rank(gradient_spectrum: Spectrum) -> Tensor:
    """The energy of a weight's gradient over that of its strongest direction.

    The stable rank of G = ∂L/∂W.

    Args:
        gradient_spectrum: singular values (*batch, n) of the gradient of the loss with respect to a weight.

    Returns:
        (*batch), at least 1; NaN for a zero gradient.

    Example:
        >>> import torch
        >>> from rankscope.spectra import spectrum
        >>> grad_stable_rank(spectrum(torch.diag(torch.tensor([2.0, 1.0, 0.0])))).item()
        1.25
    """
    return stable_rank(gradient_spectrum)
