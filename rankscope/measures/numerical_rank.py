"""Numerical rank."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.records import Spectrum

EPS32 = 2.0**-23


@measure(
    forms=("raw", "centered", "unit", "unit_centered"),
    healthy="high",
    bounds=(1.0, "min(N, d)"),
    paper="Golub & Van Loan, Matrix Computations, §5.4; threshold as numpy's matrix_rank for float32",
    formula="#{σ_i > rtol·σ_1}, rtol = max(N, d)·2⁻²³",
    undefined="every value is zero (centred: all tokens are equal)",
    rank=True,
)
def numerical_rank(spectrum: Spectrum) -> Tensor:
    """How many singular values stand above the rounding of float32 data.

    #{σ_i > rtol·σ_1} with rtol = max(N, d)·2⁻²³ for every dtype: with the eps of bfloat16 the rank would be 0 from
    width 128 on, and that of float64 lies under what activations resolve.

    Args:
        spectrum: singular values (*batch, n).

    Returns:
        (*batch), whole numbers in [1, min(N, d)]; NaN when all singular values are 0.

    Example:
        >>> from rankscope.spectra import spectrum
        >>> numerical_rank(spectrum(torch.diag(torch.tensor([1.0, 1e-3, 0.0])))).item()
        2.0
    """
    sigma = spectrum.singular_values
    counted = sigma > max(spectrum.rows, spectrum.width) * EPS32 * sigma[..., :1]
    return torch.where(sigma[..., 0] > 0, counted.sum(-1).to(sigma.dtype), math.nan)
