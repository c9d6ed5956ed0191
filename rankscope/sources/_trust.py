"""Trust: the one gate before anything that runs code while it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.errors import LoadError
from rankscope.formats import refuse, risky, sha256
from rankscope.records import Note

if TYPE_CHECKING:
    from pathlib import Path

    from rankscope.formats import Kind
    from rankscope.sources import LoadOptions


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
    if not options.trust and options.trust_sha256 is None:
        error = refuse(path, name, kind)
        remedies = [*error.remedies, risky(path, name)]
        raise LoadError(error.code, error.headline, details=error.details, remedies=remedies)
    digest = sha256(path / ".metadata" if path.is_dir() else path)
    if options.trust_sha256 is not None and digest != options.trust_sha256.lower():
        raise LoadError(
            "RS347",
            f"{name} was not loaded: its content is not the one that was trusted",
            details=[("trusted", options.trust_sha256), ("found", digest)],
        )
    return Note("RS346", f"{name} was trusted: loading it may have run code that it holds (sha256 {digest})")
