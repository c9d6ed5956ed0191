"""Inputs from Python: ``--inputs MOD:CALL``, a callable, a DataLoader, or batches in any form that `as_call` reads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rankscope.errors import InputError
from rankscope.records import Batch
from rankscope.user_code import told

WHOLE = (torch.Tensor, np.ndarray, tuple, Mapping)


def batches_of(data: Any, limit: int | None) -> Callable[[], Iterable[Any]]:
    """Batches that can be had more than once: a callable is called on every pass, an iterator is kept.

    Args:
        data: a callable or an iterable of batches, or one batch: a tensor, a tuple, a dict, `Batch`.
        limit: how many batches of an iterator are kept.

    Returns:
        A function that gives all batches; an `InputError` where it is none of these.

    Example:
        >>> list(batches_of(iter([1, 2, 3]), limit=2)())
        [1, 2]
    """
    if isinstance(data, Iterator):
        kept = list(itertools.islice(data, limit))
        return lambda: kept
    if callable(data) and not isinstance(data, (*WHOLE, Batch, Iterable)):
        return lambda: _iterable(data())
    return lambda: _iterable(data)


def _iterable(data: Any) -> Iterable[Any]:
    """Batches of what holds one or many."""
    if isinstance(data, (*WHOLE, Batch)):
        return [data]
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | Path):
        return data
    raise InputError(
        "RS207",
        f"the inputs cannot be read: they are {type(data).__name__}",
        details=[("expected", "a tensor, a tuple, a dict, (args, kwargs), or an iterable of those")],
    )


def guarded(make: Callable[[], Iterable[Any]], target: str) -> Iterator[Any]:
    """The batches, errors of the user's code told in its words.

    Args:
        make: gives the batches.
        target: what the user typed.

    Yields:
        The batches.
    """
    headline = f"--inputs {target} gave no batch: it raised"
    with told(InputError, "RS212", headline):
        items = iter(make())
    while True:
        with told(InputError, "RS212", headline):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
