"""Eigenvalues of the second moment of the values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.records import Spectrum


@measure(
    bounds=(0.0, None),
    paper="Zhou et al. 2024 (Value Residual, arXiv 2410.17897), Eq. 12",
    formula="eigenvalues σ_i²/N of (1/N) Σ v_i v_iᵀ, uncentred",
    undefined="the values are not finite",
    vector=True,
)
def value_spectrum(values_spectrum: Spectrum) -> Tensor:
    """How the size of the values is spread over directions, strongest first.

    The eigenvalues σ_i²/N of (1/N) Σ v_i v_iᵀ over the N tokens of a sequence, uncentred, the min(N, width) that can
    differ from zero; their sum is the mean of ‖v_i‖². V_n is taken before any value residual.

    Args:
        values_spectrum: singular values (*batch, n) of the values of this layer.

    Returns:
        (*batch, n), at least 0, descending.

    Example:
        >>> import torch
        >>> from rankscope.spectra import spectrum
        >>> value_spectrum(spectrum(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))).round(decimals=9).tolist()
        [8.0, 2.0]
    """
    return values_spectrum.singular_values.square() / values_spectrum.rows
