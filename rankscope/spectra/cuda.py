"""Grams and their eigenvalues on a CUDA device: one batched product and one batched solve for the whole stack.

float64 throughout, so the switches for TF32 have no say. From torch 2.12 on `eigvalsh` of a batch is one call of
cuSOLVER's `XsyevBatched`; before, it is a loop. The functions hold for any device that has float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def grams(stack: Tensor) -> Tensor:
    """Gram matrix of the smaller side: `a aᵀ` of a wide matrix, `aᵀ a` of a tall one.

    Args:
        stack: (batch, rows, width) float64.

    Returns:
        (batch, n, n), n = min(rows, width).

    Example:
        >>> grams(torch.tensor([[[3.0, 4.0]]], dtype=torch.float64)).tolist()
        [[[25.0]]]
    """
    rows, width = stack.shape[-2:]
    return torch.bmm(stack, stack.mT) if rows <= width else torch.bmm(stack.mT, stack)


def eigenvalues(grams: Tensor) -> Tensor:
    """Eigenvalues of symmetric matrices, values only.

    Args:
        grams: (batch, n, n) float64.

    Returns:
        (batch, n), ascending; rounding can leave small negative ones.

    Example:
        >>> eigenvalues(torch.eye(2, dtype=torch.float64).unsqueeze(0)).tolist()
        [[1.0, 1.0]]
    """
    values: Tensor = torch.linalg.eigvalsh(grams)
    return values
