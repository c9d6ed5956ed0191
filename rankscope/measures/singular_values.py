"""The singular values themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.records import Spectrum


@measure(
    forms=("raw", "centered", "unit", "unit_centered"),
    bounds=(0.0, None),
    paper="Golub & Van Loan, Matrix Computations, §2.4",
    formula="σ_1 ≥ σ_2 ≥ … of Y",
    undefined="the tokens are not finite",
    vector=True,
    in_full=False,
)
def singular_values(spectrum: Spectrum) -> Tensor:
    """All singular values of the tokens, strongest first: what every rank here is made of.

    σ_1 ≥ σ_2 ≥ … ≥ 0 of the matrix of tokens in the form asked for, min(N, d) of them. They are kept in the JSON
    report, under `spectra`, and only on request.

    Args:
        spectrum: singular values (*batch, n).

    Returns:
        (*batch, n), at least 0, descending.

    Example:
        >>> import torch
        >>> from rankscope.spectra import spectrum
        >>> singular_values(spectrum(torch.diag(torch.tensor([3.0, 4.0])))).round(decimals=9).tolist()
        [4.0, 3.0]
    """
    return spectrum.singular_values
