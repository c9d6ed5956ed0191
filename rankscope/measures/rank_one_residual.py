"""Distance from rank one."""

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
    bounds=(0.0, 1.0),
    paper="Eckart & Young 1936",
    formula="√(Σ_{i≥2} σ_i² / Σσ²) = √(1 − 1/stable_rank)",
    undefined="every value is zero (centred: all tokens are equal)",
    residual=True,
)
def rank_one_residual(spectrum: Spectrum) -> Tensor:
    """Distance from the nearest rank-one matrix, over the size of the tokens.

    √(Σ_{i≥2} σ_i² / Σσ²) (Eckart & Young 1936), from the tail itself: 1 − 1/stable_rank would cancel. At most
    `mu_bar`, and unlike it small also for tokens that are parallel up to sign. The depth verdict is taken on its unit
    form.

    Args:
        spectrum: singular values (*batch, n).

    Returns:
        (*batch) in [0, 1); 0 for an exact rank one, NaN when all singular values are 0.

    Example:
        >>> from rankscope.spectra import spectrum
        >>> rank_one_residual(spectrum(torch.diag(torch.tensor([4.0, 3.0])))).item()
        0.6
    """
    sigma = spectrum.singular_values / spectrum.singular_values[..., :1]
    tail: Tensor = torch.linalg.vector_norm(sigma[..., 1:], dim=-1)
    size: Tensor = torch.linalg.vector_norm(sigma, dim=-1)
    return tail / size
