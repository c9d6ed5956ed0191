"""Stable rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.records import Spectrum


@measure(
    forms=("raw", "centered", "unit", "unit_centered"),
    healthy="high",
    bounds=(1.0, "participation_ratio"),
    paper="Rudelson & Vershynin 2007",
    formula="Σσ²/σ_1²",
    undefined="every value is zero (centred: all tokens are equal)",
    rank=True,
)
def stable_rank(spectrum: Spectrum) -> Tensor:
    """The energy of the tokens over that of their strongest direction.

    ‖Y‖_F²/‖Y‖_2² = Σσ²/σ_1² (Rudelson & Vershynin 2007).

    Args:
        spectrum: singular values (*batch, n).

    Returns:
        (*batch) in [1, participation_ratio]; NaN when all singular values are 0.

    Example:
        >>> import torch
        >>> from rankscope.spectra import spectrum
        >>> stable_rank(spectrum(torch.diag(torch.tensor([2.0, 1.0])))).item()
        1.25
    """
    sigma = spectrum.singular_values
    return (sigma / sigma[..., :1]).square().sum(-1)
