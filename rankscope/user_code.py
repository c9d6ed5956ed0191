"""The user's own code: what ``package.module:name`` and ``file.py:name`` name, and what it raised, in its own words."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.errors import RankscopeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType


def locate(target: str, kind: type[RankscopeError], code: str, *, again: bool = False) -> Any:
    """Import what a target names; its directory and the current one go last on the path.

    Args:
        target: ``package.module:name`` or ``file.py:name``, split at the last colon; the name may be dotted.
        kind: the class of the error where it cannot be had.
        code: its code; a factory (RS330) that is missing in its module is RS331.
        again: run a file anew that was imported before.

    Returns:
        The object.

    Raises:
        RankscopeError: of the given kind: no such module, file or name, or its import raised.

    Example:
        >>> locate("collections:OrderedDict", RankscopeError, "RS330").__name__
        'OrderedDict'
    """
    left, _, name = target.rpartition(":")
    if not left or not name:
        raise kind(code, f"{target} was not read: expected package.module:name or file.py:name")
    alone = [
        (
            "Import it by itself, and mend what it shows",
            f"python {left}" if left.endswith(".py") else f'python -c "import {left}"',
        )
    ]
    with told(kind, code, f"{target} was not read: {left} could not be imported", alone):
        if left.endswith(".py"):
            module = _file(Path(left), again=again)
        else:
            importable(Path.cwd())
            importlib.invalidate_caches()
            module = _package(left, target, kind, code)
    return _attribute(module, name, target, kind, "RS331" if code == "RS330" else code)


@contextlib.contextmanager
def told(
    kind: type[RankscopeError], code: str, headline: str, remedies: Iterable[tuple[str, str]] = ()
) -> Iterator[None]:
    """Say what the user's code raised, where, and what caused it; its prints go to stderr.

    Args:
        kind: the class of the error.
        code: its code; RS902 where the code called sys.exit.
        headline: what was attempted.
        remedies: pairs (label, text) of next steps.

    Yields:
        Nothing.

    Raises:
        RankscopeError: of the given kind.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except RankscopeError:
        raise
    except (Exception, SystemExit) as error:
        details = [("raised", _line(error))]
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _ours(frame.filename)]
        if frames:
            details.append(("at", f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name}"))
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause:
            details.append(("because", _line(cause)))
        if isinstance(error, SystemExit):
            code, remedies = "RS902", [("Take the call out, or put it under", "if __name__ == '__main__':")]
        raise kind(code, headline, details=details, remedies=remedies) from error


def importable(directory: Path) -> None:
    """Put a directory last on the path. It stays there, since a forward pass may import too.

    Args:
        directory: where modules may lie.
    """
    if str(directory) not in sys.path:
        sys.path.append(str(directory))


def _package(name: str, target: str, kind: type[RankscopeError], code: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        where = [("looked in", "the installed packages, then the current directory")]
        named = [("Run where it lies, or name the file", f"FILE.py:{target.rpartition(':')[2]}")]
        headline = f"{target} was not read: there is no module {error.name}"
        raise kind(code, headline, details=where, remedies=named) from error


def _file(path: Path, *, again: bool) -> ModuleType:
    """Run a file as a module under a name that hides no other."""
    name = f"_rankscope_file_{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and not again and Path(loaded.__file__ or "").resolve() == path.resolve():
        return loaded
    importable(path.resolve().parent)
    importable(Path.cwd())
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


def _attribute(module: ModuleType, name: str, target: str, kind: type[RankscopeError], code: str) -> Any:
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            known = [key for key in vars(module) if callable(getattr(module, key)) and not key.startswith("_")]
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            details = [("did you mean", ", ".join(near))] if near else [("it has", ", ".join(known[:10]))]
            raise kind(code, f"{target} was not read: the module has no {name}", details=details)
        value = getattr(value, part)
    return value


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:400]


def _ours(filename: str) -> bool:
    """Whether a frame is of the import machinery or of this package, which the user need not see."""
    here = str(Path(__file__).parent)
    return filename.startswith(("<frozen importlib", here)) or filename == importlib.__file__
