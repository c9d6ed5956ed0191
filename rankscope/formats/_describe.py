"""What a file holds, said without torch and without running anything from it, by reading a bounded part of it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import TYPE_CHECKING

from rankscope.errors import LoadError
from rankscope.formats import _directories, _flat_files, _torch_files
from rankscope.formats._description import Description
from rankscope.formats._kinds import Kind
from rankscope.formats._refusals import AGAIN, refusal, risky
from rankscope.formats._sniff import format_of
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A directory of checkpoints can be long; the sizes of more files than this are not asked for.
_LISTED = 10_000


_LOADS = {
    Kind.TORCH_ZIP: "without a flag",
    Kind.TORCH_LEGACY: "with --arch",
    Kind.SAFETENSORS: "with --arch",
    Kind.HF_DIRECTORY: "without a flag",
    Kind.LIGHTNING: "with --arch",
    Kind.EXPORTED: "with --trust",
    Kind.TORCH_PACKAGE: "with --trust",
    Kind.PICKLE: "with --trust",
    Kind.DCP_DIRECTORY: "with --trust and --arch",
}


_READERS: dict[Kind, Callable[[Path, Description], Description]] = {
    **dict.fromkeys((Kind.TORCH_ZIP, Kind.LIGHTNING), _torch_files.torch_zip),
    Kind.TORCH_LEGACY: _torch_files.torch_legacy,
    Kind.PICKLE: _torch_files.plain_pickle,
    **dict.fromkeys(
        (Kind.EXPORTED, Kind.TORCHSCRIPT, Kind.AOTINDUCTOR, Kind.TORCH_PACKAGE), _torch_files.other_archive
    ),
    Kind.SAFETENSORS: _flat_files.safetensors,
    Kind.GGUF: _flat_files.gguf,
    Kind.ONNX: _flat_files.onnx,
    Kind.NUMPY: _flat_files.numpy_arrays,
    Kind.LFS_POINTER: _flat_files.lfs_pointer,
    Kind.HTML: _flat_files.web_page,
    Kind.SHARD_INDEX: _flat_files.shard_index,
    Kind.TEXT: _flat_files.text,
    Kind.HF_DIRECTORY: _directories.huggingface,
    Kind.DCP_DIRECTORY: _directories.distributed,
    Kind.PEFT_DIRECTORY: _directories.adapter,
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
    base = Description(kind=kind, size=_size(path), loads=_LOADS.get(kind, "not at all"))
    refused = refusal(path, str(path), kind)
    if refused:
        base = base.blocked(refused, base.loads)
        if "--trust" in base.loads:
            base = dataclasses.replace(base, remedies=(*base.remedies, risky(path, str(path))))
    reader = _READERS.get(kind)
    if reader is None:
        return base
    try:
        return reader(path, base)
    except Exception as error:  # the content chooses what goes wrong
        why = display_name(f"{type(error).__name__}: {error}".rstrip(": "))
        return base.blocked(LoadError("RS313", f"its content does not hold together ({why})", remedies=[AGAIN]))


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
