"""What a file holds, said without torch and without running anything from it, by reading a bounded part of it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.formats._refusals import refusal
from rankscope.formats._sniff import Kind, format_of

if TYPE_CHECKING:
    from pathlib import Path

# A directory of checkpoints can be long; the sizes of more files than this are not asked for.
_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class Description:
    """What a file or directory is.

    `size` is in bytes, that of a directory the sum of the files directly in it; `facts` are pairs (label, text), ready
    to print; `imports` are the names that its pickle would import beyond those of torch itself; `loads` says how it can
    be opened: ``"without a flag"``, ``"with --arch"``, ``"with --allow 'pkg.*'"``, ``"with --trust"``, ``"with --trust
    and --arch"`` or ``"not at all"``. `problem` says what is wrong or in the way, under `code`, and `remedies` (label,
    text) what to do, the safest first.
    """

    kind: Kind
    size: int
    facts: tuple[tuple[str, str], ...] = ()
    imports: tuple[str, ...] = ()
    loads: str = "not at all"
    problem: str | None = None
    code: str | None = None
    remedies: tuple[tuple[str, str], ...] = ()


_LOADS = {
    Kind.TORCH_ZIP: "without a flag",
    Kind.TORCH_LEGACY: "with --arch",
    Kind.SAFETENSORS: "with --arch",
    Kind.HF_DIRECTORY: "without a flag",
    Kind.LIGHTNING: "with --arch",
    Kind.EXPORTED: "with --trust",
    Kind.DCP_DIRECTORY: "with --trust and --arch",
}


def describe(path: Path) -> Description:
    """Describe a file or directory.

    Args:
        path: an existing file or directory. Only its head and its own directory of content are read, so that several
            GB take no longer than a few kB; its checksum, which reads all of it, is `sha256`.

    Returns:
        What it is, how it loads, and what is wrong with it.

    Example:
        >>> from pathlib import Path
        >>> describe(Path(__file__)).kind
        <Kind.TEXT: 'text file'>
    """
    kind = format_of(path)
    loads = _LOADS.get(kind, "not at all")
    refused = refusal(path, str(path), kind)
    return Description(
        kind=kind,
        size=_size(path),
        loads=loads,
        problem=refused.headline if refused else None,
        code=refused.code if refused else None,
        remedies=refused.remedies if refused else (),
    )


def sha256(path: Path) -> str:
    """The SHA-256 of a file; it reads all of it, at some GB a second at best.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    """Bytes of a file, or of the files directly in a directory."""
    if not path.is_dir():
        return path.stat().st_size
    total = 0
    with os.scandir(path) as entries:
        for entry, _ in zip(entries, range(_LISTED), strict=False):
            total += entry.stat().st_size if entry.is_file() else 0
    return total
