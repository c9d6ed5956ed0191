"""Trust: the one gate before anything that runs code while it is loaded."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rankscope.errors import LoadError
from rankscope.formats import refuse, sha256
from rankscope.records import Note, display_name

if TYPE_CHECKING:
    from pathlib import Path

    from rankscope.formats import Kind
    from rankscope.sources import LoadOptions


def is_trusting(options: LoadOptions) -> bool:
    """Whether the user lets files run code while they are loaded.

    Args:
        options: `trust` and `trust_sha256` are looked at.

    Returns:
        True for ``--trust`` or ``--trust-sha256``.
    """
    return options.trust or options.trust_sha256 is not None


def trusted(path: Path, name: str, kind: Kind, options: LoadOptions) -> Note:
    """Ask whether the user trusts a file whose loading runs code.

    Args:
        path: the file, or a directory whose `.metadata` is the pickle.
        name: the file in the user's words.
        kind: what it is.
        options: `trust`, and `trust_sha256`, which trusts one content alone.

    Returns:
        The note that says what was trusted.

    Raises:
        LoadError: trust was not given, or was given to another content.
    """
    if not is_trusting(options):
        error = refuse(path, name, kind)
        arch = " --arch yourmodule:Net" if path.is_dir() and not (options.arch or options.weights) else ""
        risky = (
            f"Runs any code in the {'directory' if path.is_dir() else 'file'}",
            f"{command(name, options)} --trust{arch}",
        )
        raise LoadError(error.code, error.headline, details=error.details, remedies=[*error.remedies, risky])
    digest = sha256(path / ".metadata" if path.is_dir() else path)
    if options.trust_sha256 is not None and digest != options.trust_sha256.lower():
        raise LoadError(
            "RS347",
            f"{name} was not loaded: its content is not the one that was trusted",
            details=[("trusted", options.trust_sha256), ("found", digest)],
            remedies=[("Find out why it changed, then trust it anew", f"--trust-sha256 {digest}")],
        )
    return Note(
        "RS346", f"{display_name(path.name)} was trusted: loading it may have run code that it holds (sha256 {digest})"
    )


def granted(options: LoadOptions) -> str:
    """The flags of trust as they were typed, to be said again.

    Args:
        options: `allow`, `trust` and `trust_sha256` are looked at.

    Returns:
        The flags, each with a space before it.
    """
    allowed = "".join(f" --allow {shlex.quote(pattern)}" for pattern in options.allow)
    content = f" --trust-sha256 {options.trust_sha256}" if options.trust_sha256 else ""
    return f"{allowed}{' --trust' if options.trust else ''}{content}"


def command(name: str, options: LoadOptions | None) -> str:
    """The command that reads a file, to be completed by a flag.

    Args:
        name: the file in the user's words.
        options: how it is read now.

    Returns:
        Such as ``rankscope probe model.pt``.
    """
    quoted = shlex.quote(name)
    if options is not None and options.weights is not None and str(options.weights) == name:
        return f"rankscope probe yourmodule:Net --weights {quoted}"
    arch = f" --arch {options.arch}" if options is not None and options.arch else ""
    return f"rankscope probe {quoted}{arch}"
