"""Condition number on the numerical rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._registry import measure
from rankscope.measures.numerical_rank import numerical_rank

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.records import Spectrum


@measure(
    forms=("raw", "centered", "unit", "unit_centered"),
    healthy="low",
    bounds=(1.0, "2²³/max(N, d)"),
    paper="Golub & Van Loan, Matrix Computations, §2.6",
    formula="σ_1/σ_r, r = numerical rank",
    undefined="every value is zero (centred: all tokens are equal)",
    companions=("numerical_rank",),
)
def condition_number(spectrum: Spectrum) -> Tensor:
    """Strongest over weakest direction, among those above rounding.

    σ_1/σ_r with r the numerical rank; always read beside r, for it falls when a σ drops under the threshold.

    Args:
        spectrum: singular values (*batch, n).

    Returns:
        (*batch) in [1, 2²³/max(N, d)]; NaN when all singular values are 0.

    Example:
        >>> import torch
        >>> from rankscope.spectra import spectrum
        >>> condition_number(spectrum(torch.diag(torch.tensor([8.0, 2.0, 0.0])))).item()
        4.0
    """
    sigma = spectrum.singular_values
    last = numerical_rank(spectrum).nan_to_num(1).long() - 1
    return sigma[..., 0] / sigma.gather(-1, last.unsqueeze(-1)).squeeze(-1)
