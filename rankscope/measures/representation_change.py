"""Change of the normalised stream over a block."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from rankscope.measures._forms import norm
from rankscope.measures._registry import measure

if TYPE_CHECKING:
    from torch import Tensor


@measure(
    healthy="high",
    bounds=(0.0, 4.0),
    paper="Xie et al. 2023 (ResiDual, arXiv 2304.14802), after Liu et al. 2020 (Admin)",
    formula="mean over tokens of ‖LN(y_i) − LN(x_i)‖² / width, LN without affine",
    undefined="every token is the same in all features, before the layer or after it",
    in_full=False,
)
def representation_change(tokens: Tensor, previous: Tensor) -> Tensor:
    """How much one layer changes the normalised stream: 0 where the layer could as well be left out.

    w² = mean over tokens and features of (LN(y) − LN(x))² = 2 (1 − correlation over features), with y the output of the
    layer, x that of the layer before it (for the first block its input), and LN without affine. Where all blocks add
    alike it falls to 0 with depth under Pre-LN, as 2/(k + 1 + √(k² + k)), and stays at 2 − √2 under Post-LN.

    Args:
        tokens: (*batch, tokens, width) float64, the output of the layer.
        previous: (*batch, tokens, width) float64, that of the layer before it that is measured.

    Returns:
        (*batch) in [0, 4]; NaN where no token has features that differ. A token whose features are all equal is left
        out.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, -1.0, 0.0, 0.0]])
        >>> round(representation_change(x + x.flip(1), x).item(), 3)
        0.586
    """
    (after, grown), (before, grew) = _normalised(tokens), _normalised(previous)
    counts = (grown != 0) & (grew != 0)
    change = torch.where(counts, (after - before).square().sum(-1), 0.0).sum(-1)
    return torch.where(counts.any(-1), change / counts.sum(-1), math.nan)


def _normalised(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """LN(y_i)/√width of each token, centred about its first feature so that equal ones give exactly 0; and its size."""
    shifted = tokens - tokens[..., :1]
    centred = shifted - shifted.mean(-1, keepdim=True)
    size = norm(centred, -1)
    return centred / torch.where(size == 0, 1.0, size).unsqueeze(-1), size
