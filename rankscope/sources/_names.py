"""Names and paths: how a spec is shown in a report, and what a mistyped one may have meant."""

from __future__ import annotations

import difflib
import itertools
import shlex
from pathlib import Path, PureWindowsPath

from rankscope.errors import LoadError

# A directory of checkpoints can be long; more than this is not searched for a near name.
_SEARCHED = 2000


def shown(path: str) -> str:
    """A path as a report may hold it: as typed, or its last name alone where it is absolute.

    Args:
        path: a path of this machine, or a Windows path.

    Returns:
        Text without an absolute path.

    Example:
        >>> shown("runs/model.pt"), shown("/home/me/model.pt"), shown("C:" + chr(92) + "model.pt")
        ('runs/model.pt', 'model.pt', 'model.pt')
    """
    windows = PureWindowsPath(path)
    if Path(path).is_absolute():
        return Path(path).name or "directory"
    return windows.name if windows.is_absolute() else path


def exists(text: str) -> bool:
    """Whether a text is the path of something.

    Args:
        text: anything typed.

    Returns:
        False also for what the file system would not take as a name.
    """
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def no_such_file(text: str, names: list[str]) -> LoadError:
    """The error for something that is no path and no known name.

    Args:
        text: what was typed.
        names: what may have been meant: aliases, demo checkpoints, architectures with their prefix.

    Returns:
        The error, to be raised by the caller.
    """
    path = Path(text)
    near = difflib.get_close_matches(text, names, n=3, cutoff=0.6)
    beside = {str(path.with_name(entry)) for entry in _entries(path.parent)} if path.name else set()
    if path.suffix == ".py":
        beside = {entry for entry in beside if entry.endswith(".py")}
    near += difflib.get_close_matches(text, sorted(beside), n=3, cutoff=0.6)
    details = [("did you mean", ", ".join(near))] if near else []
    if path.name in _entries(path.parent):
        details = [("why", "it is a link to a file that does not exist"), *details]
    remedies = []
    module, colon, factory = text.rpartition(":")
    source = Path(*text.split("."))
    if all(part.isidentifier() for part in text.split(".")) and _is_module(source):
        details = []
        remedies = [("Name the function or class in it", f"rankscope probe {text}:NAME")]
    elif colon and exists(f"{module}.py"):
        remedies = [("A file is named with its suffix", f"rankscope probe {module}.py:{factory}")]
    elif text.count("/") == 1 and not path.suffix and not path.parent.is_dir():
        remedies = [("A model of the local Hugging Face cache", f"rankscope probe hf:{text}")]
    elif near:
        remedies = [("If that was meant", f"rankscope probe {shlex.quote(near[0])}")]
    else:
        remedies = [("Look what is there", f"ls {shlex.quote(str(_nearest(path.parent)))}")]
    return LoadError("RS310", f"{text} was not loaded: no such file", details=details, remedies=remedies)


def _is_module(path: Path) -> bool:
    return exists(f"{path}.py") or exists(str(path / "__init__.py"))


def _nearest(folder: Path) -> Path:
    """The folder itself, or the first above it that exists."""
    return next((place for place in (folder, *folder.parents) if exists(str(place))), Path())


def _entries(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in itertools.islice(directory.iterdir(), _SEARCHED)]
    except OSError:
        return []
