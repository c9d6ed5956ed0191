"""Batches: made ready as they are asked for, the same on every pass."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rankscope.errors import InputError
from rankscope.inputs.masks import SENSE
from rankscope.inputs.mlp import is_mlp
from rankscope.inputs.reading import Reading, learn
from rankscope.records import Batch, Inputs, Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import nn

    from rankscope.inputs.arguments import Call, Parameters
    from rankscope.inputs.options import InputOptions


@dataclass(frozen=True, slots=True)
class Cut:
    """How data are split into batches: `size` entries each along `axis`, of the `total` there are."""

    axis: int
    size: int
    total: int


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of a run; each pass makes them anew from `make`, under a random state of its own seeded by `seed`."""

    make: Callable[[], Iterable[Any]]
    reading: Reading
    cut: Cut | None
    limit: int | None
    seed: int

    def __iter__(self) -> Iterator[Batch]:
        items = own_random(self.make, self.seed)
        ready = itertools.chain.from_iterable(self._ready(item) for item in items)
        return itertools.islice(ready, self.limit)

    def _ready(self, item: Any) -> Iterator[Batch]:
        call, _ = self.reading.call(item)
        batch, _ = self.reading.batch(call, item.keep if isinstance(item, Batch) else None)
        return split(batch, self.reading.known, self.cut) if self.cut else iter([batch])


def assemble(
    model: nn.Module,
    options: InputOptions,
    make: Callable[[], Iterable[Any]],
    told: str,
    *,
    whole: bool = False,
    drawn: bool = False,
    seed: int | None = None,
    notes: tuple[Note, ...] = (),
) -> Inputs:
    """Put the inputs of a run together: read the first batch, and promise the others.

    Args:
        model: the model.
        options: what the user said.
        make: gives all batches, each time it is called; each in any form that `as_call` reads.
        told: what a report says of the inputs.
        whole: the data are to be split into batches; else they are batches already.
        drawn: the data are random.
        seed: what a report says of the seed.
        notes: on the inputs.

    Returns:
        The inputs.

    Raises:
        InputError: there is no batch, or the first does not fit the model.
    """
    first = next(iter(own_random(make, options.seed)), None)
    if first is None:
        raise InputError("RS219", f"there is nothing to run the model on: no batch came from {told}")
    reading = learn(model, options, first, drawn=drawn)
    call, bound = reading.call(first)
    main = reading.main(call)
    if main is not None and main.numel() == 0:
        raise InputError(
            "RS219", f"there is nothing to run the model on: {told} is empty, of shape {tuple(main.shape)}"
        )
    cut, layout, uncut = _cut(model, reading, call) if whole else (None, reading.layout, ())
    batches = Batches(make, reading, cut, options.batches, options.seed)
    _, masked = reading.batch(call, first.keep if isinstance(first, Batch) else None)
    return Inputs(batches, told, seed, layout, tuple(dict.fromkeys((*notes, *bound, *masked, *uncut))))


def _cut(model: nn.Module, reading: Reading, call: Call) -> tuple[Cut | None, str | None, tuple[Note, ...]]:
    """How data are split, their layout, and a note where they cannot be."""
    options, layout = reading.options, reading.layout
    main = reading.main(call)
    if main is None or main.ndim < 2 or main.is_nested:
        return None, layout, ()
    if main.is_floating_point() and main.ndim == 2 and layout in {None, "bd"}:  # one sequence, not to be cut by chance
        rows = layout == "bd" or is_mlp(model)
        return (Cut(0, options.max_tokens, len(main)) if rows else None), "bd" if rows else None, ()
    total = main.shape[int(bool(reading.tokens_first))]
    if total <= options.batch_size:
        return None, layout, ()
    if reading.tokens_first is None:
        text = "which axis of the inputs counts the sequences could not be seen; they run as one batch; give --layout"
        return None, layout, (Note("RS226", text),)
    return Cut(int(reading.tokens_first), options.batch_size, total), layout, ()


def split(batch: Batch, known: Parameters, cut: Cut) -> Iterator[Batch]:
    """Cut a batch into smaller ones; arguments that do not count the sequences go whole into each.

    Args:
        batch: the data.
        known: the parameters of forward.
        cut: where.

    Yields:
        Batches of views of the data.
    """
    named = known.named(batch.args, batch.kwargs)
    axes = {name: _axis(name, value, cut, padding=name in SENSE or name in batch.keep) for name, value in named.items()}
    for start in range(0, cut.total, cut.size):
        size = min(cut.size, cut.total - start)
        parts = {
            name: value if (axis := axes[name]) is None else value.narrow(axis, start, size)
            for name, value in named.items()
        }
        args = tuple(itertools.islice(parts.values(), len(batch.args)))
        kwargs = {name: parts[name] for name in batch.kwargs}
        keep = {name: real[start : start + size] for name, real in batch.keep.items()}
        yield Batch(args, kwargs, {name: real for name, real in keep.items() if not bool(real.all())})


def _axis(name: str, value: Any, cut: Cut, *, padding: bool) -> int | None:
    """The axis of an argument that counts the sequences; masks count them first, others where the inputs do."""
    if not isinstance(value, Tensor):
        return None
    shape = tuple(value.shape)
    if "mask" in name:
        is_map = not padding and len(shape) == 2 and shape[0] == shape[1]
        return 0 if shape[:1] == (cut.total,) and not is_map else None
    if len(shape) > cut.axis and shape[cut.axis] == cut.total:
        return cut.axis
    return 0 if shape[:1] == (cut.total,) else None


def own_random(make: Callable[[], Iterable[Any]], seed: int) -> Iterator[Any]:
    """Iterate under a random state that starts at the seed, and leave the caller's as it is.

    Args:
        make: gives the iterable; it and its items may draw from `random`, numpy or torch (on the CPU).
        seed: of all three.

    Yields:
        The items, the same on every pass.
    """
    outer = _random_state()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        items = iter(make())
    finally:
        inner = _swap(outer)
    while True:
        outer = _swap(inner)
        try:
            item = next(items)
        except StopIteration:
            return
        finally:
            inner = _swap(outer)
        yield item


def _random_state() -> tuple[Any, Any, Tensor]:
    return random.getstate(), np.random.get_state(), torch.default_generator.get_state()


def _swap(state: tuple[Any, Any, Tensor]) -> tuple[Any, Any, Tensor]:
    """Put a random state in place, and give the one that was."""
    before = _random_state()
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.default_generator.set_state(state[2])
    return before
