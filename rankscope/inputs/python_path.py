"""Inputs from Python: ``--inputs MOD:CALL``, a callable, a DataLoader, or batches in any form that `as_call` reads."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch

from rankscope.errors import InputError, RankscopeError
from rankscope.records import Batch
from rankscope.registry import unknown_name

if TYPE_CHECKING:
    from types import ModuleType

WHOLE = (torch.Tensor, np.ndarray, tuple, Mapping)


def locate(target: str) -> Any:
    """Import what ``package.module:name`` or ``file.py:name`` names; the current directory goes last on the path.

    Args:
        target: split at the last colon.

    Returns:
        The callable, or the batches themselves.

    Raises:
        InputError: it is not of that form, or cannot be imported.
    """
    left, _, name = target.rpartition(":")
    if not left or not name:
        raise InputError("RS212", f"--inputs {target} was not read: expected package.module:name or file.py:name")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    with _told(f"--inputs {target} was not read: {left} could not be imported"):
        module = _file(Path(left)) if left.endswith(".py") else importlib.import_module(left)
    if not hasattr(module, name):
        _refuse_name(name, [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")])
    return getattr(module, name)


def _refuse_name(name: str, known: list[str]) -> NoReturn:
    raise unknown_name("name of --inputs", name, known)


def _file(path: Path) -> ModuleType:
    """Run a file as a module; where the model came from the same file, it is not run again."""
    name = f"_rankscope_file_{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and Path(loaded.__file__ or "").resolve() == path.resolve():
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


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
    with _told(headline):
        items = iter(make())
    while True:
        with _told(headline):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


@contextlib.contextmanager
def _told(headline: str) -> Iterator[None]:
    """Say what the user's code raised and where; its prints go to stderr."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except RankscopeError:
        raise
    except (Exception, SystemExit) as error:
        details = [("raised", f"{type(error).__name__}: {error}".replace("\n", " ")[:400])]
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _ours(frame.filename)]
        if frames:
            details.append(("at", f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name}"))
        raise InputError("RS212", headline, details=details) from error


def _ours(filename: str) -> bool:
    return filename in {__file__, importlib.__file__} or filename.startswith("<frozen importlib")
