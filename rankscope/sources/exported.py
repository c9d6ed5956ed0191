"""Archives of torch.export (.pt2): loading one may run code, so the user trusts it first.

`ExportedProgram.module()` is one flat graph, whose children take hooks and never call them. `torch.export.unflatten`
gives the modules back, each of which runs its own part of the graph.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rankscope.errors import LoadError, UsageError
from rankscope.formats import AGAIN, Kind, sha256
from rankscope.records import Batch, Note, Source, display_name
from rankscope.sources import FORMS, Form, LoadOptions
from rankscope.sources._finish import refuse_meta
from rankscope.sources._trust import trusted
from rankscope.specs import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankscope.sources._state import State

_CLASS = ("Give the class and its weights", "rankscope probe yourmodule:Net --weights weights.pt")


def open_exported(spec: str, options: LoadOptions) -> Source:
    """Open an archive of torch.export, with its modules apart and its weights in place.

    Args:
        spec: the file.
        options: `trust` or `trust_sha256` must be given.

    Returns:
        The model, with the inputs that it was exported with as its example.

    Raises:
        UsageError: ``--init-only``, for a model whose initialisation is not known.
    """
    path = Path(spec)
    note = trusted(path, spec, Kind.EXPORTED, options)
    if options.init_only:
        raise UsageError("RS338", f"{spec} was not opened: --init-only needs a factory, and this is an exported model")
    program = _load(path, spec)
    model = refuse_meta(unflattened(program, spec), spec)
    return Source(model, shown(spec), "exported", sha256=sha256(path), example=_example(program), notes=(note,))


def read_state(path: Path, name: str, options: LoadOptions) -> tuple[State, tuple[Note, ...]]:
    """The tensors of an archive of torch.export, for ``--weights``.

    Args:
        path: the file.
        name: the file in the user's words.
        options: `trust` or `trust_sha256` must be given.

    Returns:
        Names to tensors, and what was trusted.
    """
    note = trusted(path, name, Kind.EXPORTED, options)
    return _load(path, name).state_dict, (note,)


def unflattened(program: Any, name: str) -> nn.Module:
    """The modules of an exported program.

    Args:
        program: a `torch.export.ExportedProgram`.
        name: the model in the user's words.

    Returns:
        A module whose children run, so that their hooks fire.

    Raises:
        LoadError: torch cannot take it apart.
    """
    try:
        with _quiet():
            model = torch.export.unflatten(program)
    except Exception as error:  # what a graph holds decides what goes wrong
        raise LoadError(
            "RS374",
            f"{name} was not loaded: torch cannot take its graph apart into modules",
            details=[("torch says", _first_line(error))],
            remedies=[_CLASS],
        ) from error
    _give_classes(model)
    _give_names(model, program)
    return model


def _give_classes(model: nn.Module) -> None:
    """Let each part bear the name of the class that it was exported from, by which blocks are told apart."""
    classes: dict[tuple[type, str], type] = {}
    for part in model.modules():
        told = getattr(part, "type_name", None)
        dotted = told() if callable(told) else None
        if not isinstance(dotted, str) or not dotted:
            continue
        home, _, last = display_name(dotted).rpartition(".")
        key = (type(part), dotted)
        part.__class__ = classes.setdefault(key, type(last, (type(part),), {"__module__": home}))


def _give_names(model: nn.Module, program: Any) -> None:
    """Let `forward` take its inputs by name, as before the export; torch takes each only as it was exported."""
    names = list(getattr(program.module_call_graph[0].signature, "forward_arg_names", None) or ())
    positional = names[: program.call_spec.in_spec.children()[0].num_children]
    if not positional:
        return
    original = type(model)

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        first = [given.pop(name) for name in positional if name in given]
        return original.forward(self, *first, *args[len(names) :], **given)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("self", *names) if name.isidentifier()]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # a function takes attributes
    model.__class__ = type(original.__name__, (original,), {"forward": forward, "__module__": original.__module__})


def _load(path: Path, name: str) -> Any:
    """The exported program of a file that is trusted."""
    try:
        with _quiet():
            return torch.export.load(path)
    except Exception as error:  # the file decides what goes wrong
        raise LoadError(
            "RS373",
            f"{name} was not loaded: torch.export cannot read it",
            details=[("torch says", _first_line(error)), ("torch", str(torch.__version__))],
            remedies=[
                AGAIN,
                ("Export it again with the torch that reads it", "torch.export.save(program, 'model.pt2')"),
                _CLASS,
            ],
        ) from error


def _example(program: Any) -> Batch | None:
    """The inputs that a model was exported with; they are left out where the file does not keep them."""
    kept = program.example_inputs
    if not isinstance(kept, tuple) or len(kept) != 2 or not (kept[0] or kept[1]):
        return None
    return Batch(args=tuple(kept[0]), kwargs=dict(kept[1]))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from printing tracebacks of its own before it raises."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _first_line(error: Exception) -> str:
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    return display_name(f"{type(error).__name__}: {text}".rstrip(": "))


FORMS.add(
    "exported",
    Form(open_exported, kinds=frozenset({Kind.EXPORTED}), state=read_state),
)
