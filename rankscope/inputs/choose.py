"""One source of inputs a run: the one that was given, else what came with the model, else what the model shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rankscope.errors import InputError
from rankscope.inputs.arrays import read_file
from rankscope.inputs.batches import assemble
from rankscope.inputs.inferred import infer
from rankscope.inputs.options import InputOptions, given_source
from rankscope.inputs.python_path import WHOLE, batches_of, guarded
from rankscope.inputs.random import draw, read_specs
from rankscope.inputs.text import read_text
from rankscope.records import Note
from rankscope.user_code import locate

if TYPE_CHECKING:
    from rankscope.records import Inputs, Source

DEFAULTS = InputOptions()
SAMPLE = "sample.txt"  # the text that lies beside the demo checkpoints


def gather(source: Source, options: InputOptions = DEFAULTS) -> Inputs:
    """The inputs of a run, as the options say; without any, the model's own example, else inferred ones.

    Args:
        source: the model and what came with it.
        options: what the user said.

    Returns:
        The inputs; `batches` may be iterated more than once. What was chosen without being asked for is in a note.

    Example:
        >>> from torch import nn
        >>> from rankscope.records import Source
        >>> inputs = gather(Source(nn.Linear(3, 2), "net", "python"), InputOptions(random=("x=2x5x3",)))
        >>> [batch.kwargs["input"].shape for batch in inputs.batches]
        [torch.Size([2, 5, 3])]
    """
    given = given_source(options)
    if given == "input" and options.input is not None:
        return from_python(source, read_file(options.input), options, f"input: {options.input.name}")
    if given == "random":
        specs = read_specs(options.random, source.model)
        drawn = draw(specs, options.seed)
        told = f"random: {', '.join(map(str, specs))}, seed {options.seed}"
        return assemble(source.model, options, lambda: [drawn], told, whole=True, drawn=True, seed=options.seed)
    if given == "text" and options.text is not None:
        return read_text(source, options, options.text)
    if isinstance(options.inputs, str):
        return _from_code(source, options.inputs, options)
    if options.inputs is not None:
        return from_python(source, options.inputs, options)
    return _without(source, options)


def _from_code(source: Source, target: str, options: InputOptions) -> Inputs:
    """The batches that ``MOD:CALL`` gives."""
    make = batches_of(locate(target, InputError, "RS212"), options.batches)
    told = f"inputs: {target.rpartition('/')[2]}"
    return assemble(source.model, options, lambda: guarded(make, target), told, seed=options.seed)


def _without(source: Source, options: InputOptions) -> Inputs:
    """What comes with the model, else what it shows; announced."""
    if source.example is not None:
        inputs = from_python(source, source.example, options, "the model's own example")
        chosen = "the example inputs that came with the model are used"
    elif source.format == "demo" and source.directory is not None:
        inputs = read_text(source, options, source.directory / SAMPLE)
        chosen = f"the text that came with the demo is read: {SAMPLE}"
    else:
        return infer(source.model, options)
    return replace(inputs, notes=(Note("RS210", f"no inputs were given; {chosen}"), *inputs.notes))


def from_python(source: Source, data: Any, options: InputOptions = DEFAULTS, told: str = "python") -> Inputs:
    """The inputs of a run, from Python.

    Args:
        source: the model.
        data: a tensor, a tuple of positional arguments, a mapping of keyword ones or (args, kwargs): split into batches
            of `batch_size`. Or a `Batch`, or a list, DataLoader or other iterable of any of these, or a callable that
            gives one on every pass: batches as they are.
        options: `batches`, `batch_size`, `seed`, `mask`, `mask_sense` and `layout` are used.
        told: what a report says of the inputs.

    Returns:
        The inputs; an iterator is kept in memory, so that `batches` may be iterated more than once.

    Example:
        >>> import torch
        >>> from rankscope.records import Source
        >>> inputs = from_python(Source(torch.nn.Linear(3, 2), "net", "python"), torch.zeros(20, 4, 3))
        >>> [len(batch.args[0]) for batch in inputs.batches]
        [8, 8, 4]
    """
    given_source(options)
    whole = isinstance(data, WHOLE)
    make = batches_of(data, options.batches)
    return assemble(source.model, options, make, told, whole=whole, seed=None if whole else options.seed)
