"""Slicing: the first sequences of a batch, and their first tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

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


def first_tokens(batch: Batch, count: int, where: Axes) -> Batch | None:
    """The first tokens of every sequence, where the axes of all arguments are beyond doubt.

    Args:
        batch: the batch.
        count: how many tokens to keep.
        where: its axes.

    Returns:
        A batch of views; None where its sequences are not that long, or some tensor is neither (batch, tokens) nor
        (batch, tokens, width) of another width.

    Example:
        >>> from rankscope.capture.layout import Axes
        >>> cut = first_tokens(Batch((torch.zeros(8, 50), None)), 10, Axes(8, 50, None))
        >>> cut.args[0].shape
        torch.Size([8, 10])
    """
    shape = (where.batch, where.tokens)
    tensors = [leaf for leaf in tree_leaves((batch.args, dict(batch.kwargs))) if isinstance(leaf, Tensor)]
    fitting = [
        not tensor.is_nested and tuple(tensor.shape[:2]) == shape and tensor.shape[2:] != (where.tokens,)
        for tensor in tensors
        if tensor.ndim
    ]
    flat = all(tensor.ndim in {0, 2, 3} for tensor in tensors)
    if (
        where.tokens is None
        or where.tokens <= count
        or where.layout not in {None, "btd"}
        or not (flat and all(fitting))
    ):
        return None

    def cut(value: Any) -> Any:
        return value[:, :count] if isinstance(value, Tensor) and value.ndim else value

    keep = {name: mask[:, :count] for name, mask in batch.keep.items()}
    return Batch(tree_map(cut, batch.args), tree_map(cut, dict(batch.kwargs)), keep)
