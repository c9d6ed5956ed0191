"""``package.module:factory`` and ``file.py:factory``: the user's own code, called for a module.

The factory gives an `nn.Module`, or ``(module, example_inputs)``; a class is made an instance of. The current
directory goes last on the path, so that a file called ``html.py`` in it cannot hide that of the standard library.
"""

from __future__ import annotations

import contextlib
import inspect
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from rankscope.errors import LoadError
from rankscope.formats import sha256
from rankscope.records import Batch, Note, Source
from rankscope.sources import FORMS, Form, LoadOptions, refuse_scripted
from rankscope.sources._finish import load_weights, refuse_meta, seeded
from rankscope.specs import exists, is_target, no_such_file, shown
from rankscope.user_code import locate, told

if TYPE_CHECKING:
    from collections.abc import Iterator

_FACTORY = ("Name a function or class that gives the module", "def make(): return Net(…)")


def open_python(spec: str, options: LoadOptions) -> Source:
    """Call a factory, and load ``--weights`` into what it gives.

    Args:
        spec: ``module:factory``.
        options: `weights`, `strip_prefix`, `init_only` and `seed` are used.

    Returns:
        The model with the example inputs of the factory, if it gave any.
    """
    model, example = make(spec, options.seed)
    left, _, right = spec.rpartition(":")
    digest = sha256(Path(left)) if left.endswith(".py") else None
    note = Note("RS341", "the weights are as the factory returned them")
    if options.init_only:
        note = Note("RS501", "weights are random: those of the factory, by request (--init-only)")
    notes: tuple[Note, ...] = (note,)
    if options.weights:
        with _as_typed(spec):
            digest, notes = load_weights(model, options)
    return Source(
        refuse_meta(model, spec), f"{shown(left)}:{right}", "python", sha256=digest, example=example, notes=notes
    )


@contextlib.contextmanager
def _as_typed(spec: str) -> Iterator[None]:
    """Name the factory that was typed, and its script, in the next steps of an error about its weights."""
    try:
        yield
    except LoadError as error:
        left = spec.rpartition(":")[0]
        script = left if left.endswith(".py") and shlex.quote(left) == left else "yourscript.py"
        error.remedies = tuple(
            (label, text.replace("yourmodule:Net", shlex.quote(spec)).replace("yourscript.py", script))
            for label, text in error.remedies
        )
        raise


def make(target: str, seed: int) -> tuple[nn.Module, Batch | None]:
    """Call ``module:factory`` under a seed.

    Args:
        target: ``package.module:factory`` or ``file.py:factory``.
        seed: of torch's random numbers while the factory runs.

    Returns:
        The module, and the example inputs if the factory gave any.

    Raises:
        LoadError: the code cannot be imported, raises, or gives something else.
    """
    left, _, right = target.rpartition(":")
    if left.endswith(".py") and not exists(left):
        missing = no_such_file(left, [])
        raise missing
    with seeded(seed):  # a module may make its model while it is imported, so that is seeded too
        factory = locate(target, LoadError, "RS330", again=True)
    if isinstance(factory, nn.Module):
        return refuse_scripted(factory, target), None
    _check_arguments(factory, target)
    alone = ("Run it by itself, and mend what it shows", _alone(left, right))
    with told(LoadError, "RS333", f"{target} was not loaded: {right} raised", [alone]), seeded(seed):
        made = factory()
        made = made() if isinstance(made, type) else made
    model, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise LoadError(
            "RS334",
            f"{target} gave no module: expected nn.Module or (nn.Module, example_inputs), got {type(made).__name__}",
            remedies=[_FACTORY],
        )
    return refuse_scripted(model, target), None if example is None else as_batch(example)


def _alone(left: str, right: str) -> str:
    """The command that calls a factory without rankscope; a file is found beside itself."""
    module, folder = (Path(left).stem, Path(left).parent) if left.endswith(".py") else (left, Path())
    first = right.partition(".")[0]
    path = "" if folder == Path() else f"PYTHONPATH={shlex.quote(str(folder))} "
    return f'{path}python -c "from {module} import {first}; {right}()"'


def as_batch(inputs: Any) -> Batch:
    """Example inputs as one call of the model.

    Args:
        inputs: a tensor, a tuple or list of positional ones, a mapping of keyword ones, or ``(args, kwargs)``.

    Returns:
        The call.

    Example:
        >>> as_batch(({"ids": 1}, {"mask": 2})).kwargs
        {'mask': 2}
    """
    if isinstance(inputs, Batch):
        return inputs
    if isinstance(inputs, Mapping):
        return Batch(kwargs=dict(inputs))
    if isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], Mapping):
        args = inputs[0] if isinstance(inputs[0], tuple | list) else (inputs[0],)
        return Batch(args=tuple(args), kwargs=dict(inputs[1]))
    return Batch(args=tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,))


def _check_arguments(factory: Any, target: str) -> None:
    """Refuse what cannot be called without arguments, by name rather than by a TypeError from inside."""
    if not callable(factory):
        raise LoadError(
            "RS334",
            f"{target} was not loaded: it is no factory or class, but of type {type(factory).__name__}",
            remedies=[_FACTORY],
        )
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature; the call will tell
        return
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    if needed:
        call = f"def make(): return {target.rpartition(':')[2]}({', '.join(f'{name}=…' for name in needed)})"
        raise LoadError(
            "RS332",
            f"{target} was not called: it needs {', '.join(needed)}",
            remedies=[("Write a function without arguments", call)],
        )


FORMS.add("python", Form(open_python, claims=is_target, weights=True))
