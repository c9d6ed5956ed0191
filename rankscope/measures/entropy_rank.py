"""Entropy of the squared singular values, as a rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.records import Spectrum


@measure(
    forms=("raw", "centered", "unit", "unit_centered"),
    healthy="high",
    bounds=(1.0, "effective_rank"),
    paper="as effective_rank (Roy & Vetterli 2007), on the eigenvalues of YᵀY",
    formula="exp(−Σ q_i ln q_i), q_i = σ_i²/Σσ²",
    undefined="every value is zero (centred: all tokens are equal)",
    rank=True,
)
def entropy_rank(spectrum: Spectrum) -> Tensor:
    """How many directions the tokens use, by the entropy of their variances.

    exp(−Σ q_i ln q_i) with q_i = σ_i²/Σσ²: as `effective_rank`, with less weight on small directions.

    Args:
        spectrum: singular values (*batch, n).

    Returns:
        (*batch) in [1, effective_rank]; NaN when all singular values are 0.

    Example:
        >>> from rankscope.spectra import spectrum
        >>> round(entropy_rank(spectrum(torch.eye(6))).item(), 9)
        6.0
    """
    sigma = spectrum.singular_values
    energy = (sigma / sigma[..., :1]).square()
    share = energy / energy.sum(-1, keepdim=True)
    return torch.exp(-torch.xlogy(share, share).sum(-1))
