"""Values: arrays made tensors of the kinds that models take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rankscope.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def to_tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """A numpy array as a tensor: whole numbers as int64, numbers and truth values as they are.

    Args:
        array: any shape.

    Returns:
        A tensor of the same shape; it may share memory.

    Raises:
        InputError: the array holds objects, text, dates or records.

    Example:
        >>> to_tensor(np.arange(3, dtype=np.uint8))
        tensor([0, 1, 2])
    """
    if array.dtype.kind in "iu":
        array = array.astype(np.int64)
    elif array.dtype.kind not in "bfc" or array.dtype.itemsize > 16:
        raise InputError(
            "RS207",
            f"an array of {array.dtype} cannot be an input: expected whole numbers, numbers or truth values",
            remedies=[("Save as numbers", "np.savez(path, x=array.astype(np.float32))")],
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def model_dtype(model: nn.Module) -> torch.dtype:
    """The dtype of floats that a model takes.

    Args:
        model: any module.

    Returns:
        The dtype of its first floating parameter or buffer, float32 where it has none.

    Example:
        >>> model_dtype(torch.nn.Linear(2, 2).double())
        torch.float64
    """
    for group in (model.parameters(), model.buffers()):
        for tensor in group:
            if tensor.is_floating_point():
                return tensor.dtype
    return torch.float32


def cast(value: Any, dtype: torch.dtype) -> Any:
    """The value with every float tensor in a dtype, also inside lists, tuples and dicts.

    Args:
        value: any argument.
        dtype: a floating dtype.

    Returns:
        The value; whole numbers and truth values are as they were.

    Example:
        >>> cast([torch.zeros(1).double(), 3], torch.float32)
        [tensor([0.]), 3]
    """

    def change(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return torch.utils._pytree.tree_map_only(torch.Tensor, change, value)
