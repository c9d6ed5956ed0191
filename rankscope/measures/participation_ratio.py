"""Participation ratio of the variances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.measures._forms import norm
from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor


def _inverse(purity: Tensor) -> Tensor:
    return 1 / purity


@measure(
    forms=("raw", "centered", "unit", "unit_centered"),
    healthy="high",
    bounds=(1.0, "entropy_rank"),
    paper="Gao et al. 2017",
    formula="(Σσ²)²/Σσ⁴ = ‖Y‖_F⁴/‖YᵀY‖_F²",
    undefined="every value is zero (centred: all tokens are equal)",
    rank=True,
    pooled=True,
    of_moments=_inverse,
)
def participation_ratio(tokens: Tensor) -> Tensor:
    """How many directions share the variance of the tokens.

    (Σσ²)²/Σσ⁴, computed as ‖Y‖_F⁴/‖G‖_F² with G the Gram matrix of the smaller side (Gao et al. 2017). It takes the
    tokens and not their spectrum, for those two norms need no eigenvalues: a run that asks for this rank alone pays
    for one matrix product.

    Args:
        tokens: (*batch, tokens, width) float64.

    Returns:
        (*batch) in [1, entropy_rank]; NaN when all tokens are zero.

    Example:
        >>> import torch
        >>> participation_ratio(torch.eye(6)).item()
        6.0...
    """
    rows, width = tokens.shape[-2:]
    scaled = tokens / norm(tokens, (-2, -1))[..., None, None]
    gram = scaled @ scaled.mT if rows <= width else scaled.mT @ scaled
    return _inverse(gram.square().sum((-2, -1)))
