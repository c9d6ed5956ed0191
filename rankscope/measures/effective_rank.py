"""Entropy of the singular values, as a rank."""

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
    bounds=(1.0, "rank"),
    paper="Roy & Vetterli 2007",
    formula="exp(−Σ p_i ln p_i), p_i = σ_i/Σσ",
    undefined="every value is zero (centred: all tokens are equal)",
    rank=True,
)
def effective_rank(spectrum: Spectrum) -> Tensor:
    """How many directions the tokens use, by the entropy of the singular values.

    exp(−Σ p_i ln p_i) with p_i = σ_i/Σσ, natural logarithm, 0·ln 0 = 0 (Roy & Vetterli 2007).

    Args:
        spectrum: singular values (*batch, n).

    Returns:
        (*batch) in [1, rank]; NaN when all singular values are 0.

    Example:
        >>> from rankscope.spectra import spectrum
        >>> round(effective_rank(spectrum(torch.eye(6))).item(), 9)
        6.0
    """
    share = spectrum.singular_values / spectrum.singular_values.sum(-1, keepdim=True)
    return torch.exp(-torch.xlogy(share, share).sum(-1))
