"""Slicing: the first sequences of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from rankscope.records import Batch

if TYPE_CHECKING:
    from rankscope.capture.layout import Axes


def first_sequences(batch: Batch, count: int, where: Axes) -> Batch:
    """The first sequences of a batch: every tensor whose batch axis counts all of them is cut, others stay.

    Args:
        batch: the batch.
        count: how many sequences to keep.
        where: its axes.

    Returns:
        A batch of views; the batch itself where it is one sequence or no more than `count`.

    Example:
        >>> from rankscope.capture.layout import Axes
        >>> cut = first_sequences(Batch((torch.zeros(8, 5),)), 2, Axes(8, 5, None))
        >>> cut.args[0].shape
        torch.Size([2, 5])
    """
    if count >= where.batch:
        return batch

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_nested:
            return torch.nested.as_nested_tensor(list(value.unbind()[:count]), layout=value.layout)
        if isinstance(value, Tensor):
            axis = 1 if where.layout == "tbd" and value.ndim >= 3 else 0
            if value.ndim > axis and value.shape[axis] == where.batch:
                return value.narrow(axis, 0, count)
        return value

    keep = {name: mask[:count] for name, mask in batch.keep.items()}
    return Batch(tree_map(cut, batch.args), tree_map(cut, dict(batch.kwargs)), keep)
