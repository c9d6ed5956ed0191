"""Pipeline: one pass over the inputs; the union of what the measures need, and no more, is captured."""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import torch

from rankscope._version import __version__
from rankscope.beginning import Begun, Loss, Outputs, Progress, Traces, Wanted, begin
from rankscope.capture.losses import check_loss, loss_named
from rankscope.capture.session import undisturbed
from rankscope.capture.wrappers import class_name
from rankscope.depth import verdicts
from rankscope.errors import InputError, RankscopeError
from rankscope.inputs import Fingerprint, InputOptions, from_python, gather
from rankscope.inputs.random import parse
from rankscope.measures import resolve
from rankscope.memory import size
from rankscope.notes import common_direction, dominance, kept_apart, partial_gradients
from rankscope.placing import check_place, free_share, placed, to_model
from rankscope.plain import now
from rankscope.records import Batch, Inputs, Report, Source
from rankscope.registry import unknown_name
from rankscope.sources import LoadOptions, open_model
from rankscope.specs import is_target
from rankscope.spectra.engine import Method

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

ALONE = threading.RLock()  # hooks, modes and switches of torch belong to the process: one probe at a time


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """What to measure and how; the names are those of the flags."""

    measures: Sequence[str] = ("quick",)
    layers: Sequence[str] = ()
    skip_layers: Sequence[str] = ()
    device: str = "auto"
    dtype: str | None = None
    loss: str | Loss = "auto"
    grad_tokens: int = 1024
    spectra: str = "auto"
    memory: str | int | None = None


_KINDS: tuple[Any, ...] = (LoadOptions, InputOptions, MeasureOptions)
_KNOWN = {field.name for kind in _KINDS for field in fields(kind)}
_PATHS = ("input", "text", "tokenizer", "weights")


def probe(model: str | Path | nn.Module, inputs: Any = None, *, keep_sums: bool = False, **options: Any) -> Report:
    """Measure every layer of a model; the twin of ``rankscope probe``.

    Args:
        model: a module, or anything the command line takes: a file, ``package.module:factory``, ``zoo:…``, ``hf:DIR``,
            the name of a demo checkpoint.
        inputs: a tensor (batch, tokens) or (batch, tokens, width), a tuple, a dict of keyword arguments, a pair
            (args, kwargs), an iterable of those, such as a DataLoader, or the path of a file of arrays; inferred from
            the model where None.
        keep_sums: whether the report keeps the sums of its pools, width × width a layer, so that `save` can write them
            as safetensors and `merge` can make one report of several.
        **options: the flags of the command line with underscores: fields of `LoadOptions`, `InputOptions` and
            `MeasureOptions`, such as ``measures="mu_bar,value_cosine"``, ``layers=["h.*"]``, ``text="sample.txt"``.

    Returns:
        The report.

    Example:
        >>> layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> report = probe(torch.nn.TransformerEncoder(layer, 3), torch.randn(2, 8, 16), measures=["mu_bar"])
        >>> [row.layer for row in report.rows]
        ['layers.0.input', 'layers.0', 'layers.1', 'layers.2']
    """
    inputs, load, gathering, measuring = read_options(inputs, options)
    with ALONE, _named_as_arguments():
        check_options(measuring, gathering)
        source = open_model(model, load)
        found = gather(source, gathering) if inputs is None else from_python(source, inputs, gathering)
        return measure(source, found, measuring, keep_sums=keep_sums)


@contextlib.contextmanager
def _named_as_arguments() -> Iterator[None]:
    """Errors speak of flags; a note beside the error names them as the keyword arguments that they are in Python."""
    try:
        yield
    except RankscopeError as error:
        flags = (flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z-]+)", str(error)))
        names = dict.fromkeys(flag for flag in flags if flag in _KNOWN)
        if names:
            error.add_note("In Python: " + ", ".join(f"{name}=…" for name in names))
        raise


def read_options(inputs: Any, options: dict[str, Any]) -> tuple[Any, LoadOptions, InputOptions, MeasureOptions]:
    """Sort the keyword arguments of `probe` and `inspect`.

    Args:
        inputs: as `probe` takes them; a path or the name of a function becomes an option.
        options: fields of the three records.

    Returns:
        What is left of the inputs, and the records.

    Raises:
        UsageError: an option is unknown.
    """
    if isinstance(inputs, str | Path) and not is_target(str(inputs)):
        options, inputs = {**options, "input": Path(inputs)}, None
    elif isinstance(inputs, str) or (callable(inputs) and not hasattr(inputs, "__iter__")):
        options, inputs = {**options, "inputs": inputs}, None
    for name in options:
        if name not in _KNOWN:
            error = unknown_name("option", name, sorted(_KNOWN))
            raise error
    for name in ("layers", "skip_layers", "random", "allow", *_PATHS):
        if isinstance(options.get(name), str):
            options[name] = Path(options[name]) if name in _PATHS else (options[name],)
    if isinstance(options.get("measures"), str):
        options["measures"] = tuple(part.strip() for part in options["measures"].split(","))
    for name in ("device", "dtype"):
        if isinstance(options.get(name), torch.device | torch.dtype):
            options[name] = str(options[name]).removeprefix("torch.")
    load, gathering, measuring = (
        kind(**{field.name: options[field.name] for field in fields(kind) if field.name in options}) for kind in _KINDS
    )
    return inputs, load, gathering, measuring


def measure(
    source: Source,
    inputs: Inputs,
    options: MeasureOptions | None = None,
    progress: Progress | None = None,
    outputs: Outputs | None = None,
    traces: Traces | None = None,
    keep_sums: bool = False,
) -> Report:
    """Measure a model on inputs.

    Args:
        source: the model.
        inputs: its inputs.
        options: what to measure.
        progress: called with a stage, how much of it is done, and of how much.
        outputs: begins a pass over the inputs; what it gives is shown every output of the model, with its batch.
        traces: kept from one call to the next of the same model, where it lies, and the same first batch.
        keep_sums: whether the report keeps the sums of its pools.

    Returns:
        The report.

    Raises:
        InputError: the inputs hold no batch.
    """
    options = options or MeasureOptions()
    check_options(options)
    loss = loss_named(options.loss)
    model, device, dtype = placed(source, options.device, options.dtype)
    fingerprint = Fingerprint()
    with undisturbed(model), contextlib.ExitStack() as editing:
        begun: Begun | None = None
        first: Batch | None = None
        for given in inputs.batches:
            fingerprint.update(given)
            batch = to_model(given, device, dtype)
            if begun is None:
                first = batch
                wanted = _wanted(source, options, inputs.layout, loss, device, progress)
                begun = begin(model, batch, replace(wanted, outputs=outputs, traces=traces), editing)
            else:
                begun.run.batch(batch)
        if begun is None or first is None:
            raise InputError("RS250", "the inputs hold no batch: nothing was measured")
        begun.run.finish()
        notes = begun.backward.finish(first)
    run, reduction = begun.run, begun.run.reduction
    rows, vectors = reduction.rows(), reduction.vectors()
    depth, told = verdicts(rows, torch.finfo(run.dtype).eps)
    told = (*dominance(reduction.dominant, rows), *told, *common_direction(reduction.common, depth, rows))
    told += (*kept_apart(vectors), *partial_gradients(rows))
    return Report(
        model=model_facts(source, model, begun.edits),
        rows=rows,
        inputs={
            "source": inputs.source,
            "sha256": fingerprint.hexdigest(),
            "sequences": run.sequences,
            "tokens": run.tokens,
            "lengths": list(run.lengths or (0, 0)),
            "seed": inputs.seed,
        },
        environment={
            "torch": torch.__version__,
            "device": str(device),
            "dtype": str(run.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "spectra": options.spectra,
            "world_size": 1,
        },
        layers=run.described(),
        depth=depth,
        coverage=run.coverage([*rows, *vectors]),
        notes=(*source.notes, *inputs.notes, *run.plan.notes, *run.notes, *notes, *told),
        spectra=vectors,
        created=now(),
        rankscope=__version__,
        sums=reduction.sums() if keep_sums else (),
    )


def check_options(options: MeasureOptions, gathering: InputOptions | None = None) -> None:
    """Refuse what no model could make right, before any code of the user's runs.

    Args:
        options: what to measure.
        gathering: where the inputs come from.
    """
    resolve(options.measures)
    check_loss(options.loss)
    check_place(options.device, options.dtype)
    if options.memory is not None:
        size(options.memory)
    for text in gathering.random if gathering else ():
        parse(text)
    if options.spectra not in get_args(Method):
        error = unknown_name("way to spectra", options.spectra, list(get_args(Method)))
        raise error


def _wanted(
    source: Source,
    options: MeasureOptions,
    layout: str | None,
    loss: str | Loss,
    device: torch.device,
    progress: Progress | None,
) -> Wanted:
    return Wanted(
        requests=resolve(options.measures),
        method=cast("Method", options.spectra),
        memory=free_share(device) if options.memory is None else size(options.memory),
        layout=layout,
        layers=options.layers,
        skip_layers=options.skip_layers,
        edits=source.edits,
        loss=loss,
        grad_tokens=options.grad_tokens,
        progress=progress,
    )


def model_facts(source: Source, model: nn.Module, edits: tuple[str, ...]) -> dict[str, Any]:
    """What a report, or a certificate, says of a model.

    Args:
        source: where it came from.
        model: as it was measured.
        edits: what each edit in force acts on.

    Returns:
        The facts.
    """
    return {
        "spec": source.spec,
        "class": class_name(model),
        "format": source.format,
        "sha256": source.sha256,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "edits": list(edits),
    }
