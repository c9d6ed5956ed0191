"""Rounding: which tensors are equal, and which one a multiple of another, up to the rounding of their dtype."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 1e-6  # relative difference of what is equal up to rounding, of float32 and finer


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal up to the rounding of their dtype.

    Args:
        one: any floating tensor.
        other: of any shape.

    Returns:
        Whether their difference is small against the larger.

    Example:
        >>> close(torch.ones(3), torch.ones(3) + 1e-7), close(torch.ones(3), torch.zeros(3))
        (True, False)
    """
    if one.shape != other.shape:
        return False
    if torch.equal(one, other):
        return True
    a, b = one.double(), other.double()
    return bool((a - b).norm() <= slack(one.dtype) * torch.maximum(a.norm(), b.norm()))


def slack(dtype: torch.dtype) -> float:
    """The relative difference that rounding makes.

    Args:
        dtype: of an activation.

    Returns:
        A few of its eps.
    """
    return max(_LEAST, 4 * torch.finfo(dtype).eps)


def multiple(operand: Tensor, stream: Tensor) -> float | None:
    """λ with operand = λ·stream, up to rounding.

    Args:
        operand: any floating tensor.
        stream: of as many numbers.

    Returns:
        λ; None where the one is no multiple of the other, or either is not finite, or the stream is zero.

    Example:
        >>> multiple(torch.tensor([2.0, -4.0]), torch.tensor([1.0, -2.0])), multiple(torch.ones(2), torch.eye(2)[0])
        (2.0, None)
    """
    if operand.is_nested or stream.is_nested or operand.numel() != stream.numel():
        return None
    a, b = operand.double().flatten(), stream.double().flatten()
    size = b @ b
    lam = (a @ b) / size
    near = (a - lam * b).norm() <= slack(operand.dtype) * a.norm()
    return _round(lam.item()) if bool(near & (size > 0) & lam.isfinite()) else None


def _round(lam: float) -> float:
    """λ without the noise that float32 leaves in it: 0.9000000043 was 0.9."""
    short = float(f"{lam:.6g}")
    return short if abs(lam - short) <= 1e-7 * abs(lam) else lam
