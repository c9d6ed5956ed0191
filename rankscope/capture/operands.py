"""Operands: what one watched operation does with the tensors that it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from rankscope.capture.flow import NORMS, POWERS, PRODUCTS, WHOLE_ATTENTION, Flow

if TYPE_CHECKING:
    import torch

Operands = list[tuple[Tensor, Flow]]


def attends(name: str, operands: Operands) -> bool:
    """Whether a call mixes values: the whole of attention in one call, or a softmax of scores times something.

    Args:
        name: the name of the function.
        operands: its floating operands.

    Returns:
        Whether it does.
    """
    if name in WHOLE_ATTENTION:
        return len(operands) > 2
    return name in PRODUCTS and len(operands) > 1 and operands[0][1].weights != 0


def has_parameter(args: tuple[Any, ...]) -> bool:
    """Whether a parameter is among the arguments.

    Args:
        args: the positional arguments of a call.

    Returns:
        Whether one is.
    """
    return any(isinstance(value, nn.Parameter) for value in args)


def normalises(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a function is a norm, or the part of one written out that gives it away, such as a root or ``pow(-0.5)``.

    Args:
        name: the name of the function.
        args: the positional arguments of the call.

    Returns:
        Whether it is.
    """
    if NORMS.fullmatch(name) is not None:
        return True
    return name in POWERS and isinstance(args[-1], int | float) and args[-1] < 0


def scaled(args: tuple[Any, ...], operands: Operands) -> int | None:
    """Which operand of a product the other one scales, by one number for each token and head.

    Args:
        args: the positional arguments of the product.
        operands: its floating operands.

    Returns:
        The number of the operand; None where the product is no such scaling, or belongs to a norm.
    """
    if not operands:
        return None
    if len(operands) == 1:
        others = [value for value in args if value is not operands[0][0]]
        return 0 if all(not isinstance(value, Tensor) or _constant(value) for value in others) else None
    (first, one), (second, two) = operands[:2]
    if first.numel() >= second.numel() and _constant(second) and not two.normed:
        return 0
    return 1 if second.numel() > first.numel() and _constant(first) and not one.normed else None


def _constant(tensor: Tensor) -> bool:
    return tensor.numel() == 1 or tensor.shape[-1] == 1


def repeated(name: str, operands: Operands) -> tuple[torch.Size | None, int]:
    """The shape, and the origins near, before heads were repeated.

    Args:
        name: the name of the function.
        operands: its floating operands.

    Returns:
        Shape and bit set; None and 0 where nothing was repeated.
    """
    if not operands:
        return None, 0
    tensor, flow = operands[0]
    if name in {"expand", "repeat_interleave"}:
        return tensor.shape, flow.near
    return (flow.repeated, flow.single) if name in {"reshape", "view"} else (None, 0)
