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
    a, b = _finite(one.double(), other.double())
    return bool((a - b).norm() <= slack(one.dtype) * torch.maximum(a.norm(), b.norm()))


def near(one: Tensor, other: Tensor, eps: float) -> bool:
    """Whether two float64 tensors are equal up to the rounding of a coarser dtype.

    Args:
        one: finite.
        other: of any shape.
        eps: that of the dtype.

    Returns:
        Whether their difference is small against the second.

    Example:
        >>> near(torch.ones(3) + 1e-3, torch.ones(3), 2**-7), near(torch.ones(3) + 1e-3, torch.ones(3), 2**-23)
        (True, False)
    """
    return one.shape == other.shape and bool((one - other).norm() <= max(_LEAST, 4 * eps) * other.norm())


def _finite(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors with 0 where neither is finite: a broken sequence says nothing of the others in its batch."""
    broken = ~(one.isfinite() | other.isfinite())
    return (one.masked_fill(broken, 0), other.masked_fill(broken, 0)) if bool(broken.any()) else (one, other)


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
        λ; None where the one is no multiple of the other, or only one is finite, or the stream is zero. Where neither
        is finite is left out.

    Example:
        >>> multiple(torch.tensor([2.0, -4.0]), torch.tensor([1.0, -2.0])), multiple(torch.ones(2), torch.eye(2)[0])
        (2.0, None)
    """
    if operand.is_nested or stream.is_nested or operand.numel() != stream.numel():
        return None
    a, b = _finite(operand.double().flatten(), stream.double().flatten())
    size = b @ b
    lam = (a @ b) / size
    near = (a - lam * b).norm() <= slack(operand.dtype) * a.norm()
    return _round(lam.item(), torch.finfo(operand.dtype).eps) if bool(near & (size > 0) & lam.isfinite()) else None


def _round(lam: float, eps: float) -> float:
    """λ without the noise of rounding: 0.9000000043 was 0.9 in float32, and 9.9989 was 10 in bfloat16."""
    shorter = (float(f"{lam:.{digits}g}") for digits in range(1, 7))
    return next((short for short in shorter if abs(lam - short) <= max(1e-7, eps / 4) * abs(lam)), lam)
