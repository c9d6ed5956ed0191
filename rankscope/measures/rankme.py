"""RankMe."""

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
    bounds=(1.0, None),
    paper="Garrido et al. 2023",
    formula="exp(−Σ p_i ln p_i), p_i = σ_i/Σσ + 1e-7",
    undefined="every value is zero (centred: all tokens are equal)",
    rank=True,
)
def rankme(spectrum: Spectrum) -> Tensor:
    """The effective rank as RankMe writes it, for comparison with published numbers.

    exp(−Σ p_i ln p_i) with p_i = σ_i/Σσ + 1e-7 (Garrido et al. 2023). The p_i do not add up to 1: an exact rank one
    gives 1.0001 for 64 singular values, and the identity of size 4096 gives 0.3 % too much.

    Args:
        spectrum: singular values (*batch, n).

    Returns:
        (*batch), a little above the effective rank; NaN when all singular values are 0.

    Example:
        >>> from rankscope.spectra import spectrum
        >>> round(rankme(spectrum(torch.eye(6))).item(), 4)
        6.0
    """
    share = spectrum.singular_values / spectrum.singular_values.sum(-1, keepdim=True) + 1e-7
    return torch.exp(-torch.xlogy(share, share).sum(-1))
