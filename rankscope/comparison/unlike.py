"""Unlike: models that take different kinds of inputs, which nothing makes comparable; said instead of a dead end."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from rankscope.errors import RankscopeError
from rankscope.inputs import InputOptions, gather
from rankscope.inputs.random import parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rankscope.records import Batch, Source

_Kind = tuple[bool, int, int | None]  # whole numbers?, axes, and the width of what is no whole number


def unlike(source: Source, first: Iterable[_Kind]) -> str | None:
    """Whether a model, left to itself, takes another kind of inputs than those it failed on.

    Args:
        source: the model.
        first: the kinds of inputs it failed on.

    Returns:
        Both kinds in words; None where they are of one kind, or the model's own cannot be told.
    """
    try:
        own = kinds(next(iter(gather(source, InputOptions()).batches)))
    except (RankscopeError, StopIteration):
        return None
    given = list(first)
    if not own or not given or own[0] == given[0]:
        return None
    return f"{_words(given[0])}, and it takes {_words(own[0])}"


def kinds(batch: Batch) -> list[_Kind]:
    """The kinds of the tensors of a batch.

    Args:
        batch: one call of a model.

    Returns:
        One for each tensor, in order.
    """
    return [_of(t.is_floating_point(), tuple(t.shape)) for t in _tensors(batch)]


def kinds_of_specs(specs: Iterable[str]) -> list[_Kind]:
    """The kinds of what is drawn at random.

    Args:
        specs: such as ``x=8x128x64``.

    Returns:
        One for each.
    """
    return [_of(not spec.whole, spec.shape) for spec in map(parse, specs)]


def _tensors(batch: Batch) -> Iterable[Any]:
    return (each for each in chain(batch.args, batch.kwargs.values()) if isinstance(each, torch.Tensor))


def _of(floating: bool, shape: tuple[int, ...]) -> _Kind:
    return not floating, len(shape), shape[-1] if floating and shape else None


def _words(kind: _Kind) -> str:
    whole, axes, width = kind
    named = "one axis" if axes == 1 else f"{axes} axes"
    return f"whole numbers of {named}" if whole else f"numbers of {named}, {width} wide"
