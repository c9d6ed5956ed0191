"""Writing files: a file appears whole or not at all, and a place that cannot be written is found before the work."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rankscope.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_writable(path: Path) -> None:
    """Make sure that `write_whole` will find a place to write to; called before the long work.

    Args:
        path: the file to be written later. Nothing is left there.

    Raises:
        UsageError: the folder is missing or read-only, or the path is a folder or a read-only file.
    """
    try:
        _try_place(path)
    except OSError as error:
        raise UsageError("RS601", _headline(path, error), remedies=_remedies(path, error)) from error


def check_apart(outputs: Iterable[Path], inputs: Iterable[str | Path]) -> None:
    """Make sure that no output would overwrite what the command reads; called before anything is read.

    Args:
        outputs: the files to be written later.
        inputs: what the user named to be read; what is no file is passed over.

    Raises:
        UsageError: one of them is the same file, under whatever name.
    """
    for path, read in itertools.product(outputs, list(inputs)):
        with contextlib.suppress(OSError, ValueError):
            if Path(path).samefile(read):
                free = f"{path.stem}-2{path.suffix}"
                raise UsageError(
                    "RS609",
                    f"{path.name} was not written: it is read as {read}, and would be overwritten",
                    remedies=[("Write elsewhere", f"-o {free}")],
                )


def write_whole(path: Path, data: str | bytes) -> None:
    """Write a file through a temporary sibling and a rename, so that no reader ever sees half of it.

    A link is followed, an existing file keeps its permissions, and a device or pipe is written to directly.

    Args:
        path: the file to write.
        data: its content; text is written as UTF-8 with the line ends it has.

    Raises:
        UsageError: the file system refused; an existing file is as it was.
        BrokenPipeError: the path is a pipe, and its reader went away.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder, "a.txt"), "whole")
        ...     Path(folder, "a.txt").read_text()
        'whole'
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        if _kind(path) == "device":
            path.write_bytes(content)
        else:
            _replace(Path(os.path.realpath(path)), content)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError("RS601", _headline(path, error), remedies=_remedies(path, error)) from error


def _headline(path: Path, error: OSError) -> str:
    why = f"there is no folder {path.parent}" if _lacks_folder(path, error) else error.strerror or str(error)
    if isinstance(error, FileNotFoundError) and not _lacks_folder(path, error):
        why = f"nothing can be made in {path.parent}"
    return f"{path} cannot be written: {why}"


def _remedies(path: Path, error: OSError) -> list[tuple[str, str]]:
    folder = [("Create the folder", f"mkdir -p {path.parent}")] if _lacks_folder(path, error) else []
    return [*folder, ("Write elsewhere", f"-o {Path('~') / path.name}")]


def _lacks_folder(path: Path, error: OSError) -> bool:
    return isinstance(error, FileNotFoundError) and not path.parent.exists()


def _kind(path: Path) -> Literal["missing", "file", "folder", "device"]:
    """What lies at the path; a pipe or a terminal is a device too."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "missing"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "device"


def _try_place(path: Path) -> None:
    """Raise the OSError that a later write would meet."""
    kind = _kind(path)
    if kind == "folder":
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if kind != "missing" and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only")
    if kind != "device":
        sibling, descriptor = _sibling(Path(os.path.realpath(path)))
        os.close(descriptor)
        sibling.unlink()


def _sibling(target: Path) -> tuple[Path, int]:
    """A new empty file beside the target, with the permissions that a plain `open` would give it."""
    if len(os.fsencode(target.name)) > 255:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    path = target.with_name(f".rankscope-{os.urandom(6).hex()}.tmp")
    return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def _replace(target: Path, content: bytes) -> None:
    """Write the sibling and rename it; whatever stops this, also Ctrl-C, the sibling goes."""
    sibling, descriptor = _sibling(target)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        if target.exists():
            sibling.chmod(stat.S_IMODE(target.stat().st_mode))
        sibling.replace(target)
    except BaseException:
        sibling.unlink(missing_ok=True)
        raise
