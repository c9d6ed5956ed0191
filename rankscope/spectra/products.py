"""Products of two factors of few rows, `leftᵀ right`: their singular values without forming them.

The gradient of a weight over T tokens is one, of the gradients at its outputs and of its inputs. T × T matrices tell
its singular values: 30 times faster than the product itself where T is a sixth of its smaller side.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from rankscope.spectra.engine import gram
from rankscope.spectra.reference import EPS

if TYPE_CHECKING:
    from torch import Tensor


def squares(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor] | None:
    """A small matrix whose eigenvalues are the squared singular values of `leftᵀ right`.

    With K = left·leftᵀ = L·Lᵀ (Cholesky) they are those of Lᵀ·(right·rightᵀ)·L; if K is singular the factors change
    places. Roundings of the two Grams, of L and of the products are each a few √m·eps of ‖left‖²·‖right‖² (m the
    length of the sums), which can be more than eps·λ_1 where the factors nearly cancel.

    Args:
        left: (T, rows) float64, T < rows.
        right: (T, width) float64, T < width.

    Returns:
        The matrix (T, T), and how far its entries put an eigenvalue off at most, beside what the solver does; None
        where both Grams are singular.

    Example:
        >>> left, right = torch.tensor([[3.0, 0.0]]).double(), torch.tensor([[0.0, 2.0, 0.0]]).double()
        >>> squares(left, right)[0].sqrt().item()
        6.0
    """
    grams = [gram(each) for each in (left, right)]
    size = torch.linalg.matrix_norm(grams[0]) * torch.linalg.matrix_norm(grams[1])
    for here, there in (grams, reversed(grams)):
        lower, failed = torch.linalg.cholesky_ex(here)
        if not bool(failed):
            square = lower.mT @ (there @ lower)
            sums = math.sqrt(left.shape[1]) + math.sqrt(right.shape[1]) + 4 * math.sqrt(len(left))
            return (square + square.mT) / 2, (16 + 2 * sums) * EPS * size
    return None
