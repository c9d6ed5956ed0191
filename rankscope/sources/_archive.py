"""Zip archives: whether one unpacks to far more than it has, and whether its bytes agree with their checksums."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, BinaryIO

from rankscope.errors import LoadError
from rankscope.formats import AGAIN, SAVE_WEIGHTS, Kind, format_of, refuse, size
from rankscope.records import Note, display_name

if TYPE_CHECKING:
    from pathlib import Path

# torch.save stores its records as they are; more than this is an archive made to fill the memory.
_UNPACKED = 4
_ARCHIVES = frozenset(
    {Kind.TORCH_ZIP, Kind.LIGHTNING, Kind.TORCHSCRIPT, Kind.EXPORTED, Kind.AOTINDUCTOR, Kind.TORCH_PACKAGE}
)


def check_size(file: BinaryIO, name: str) -> None:
    """Refuse an archive that unpacks to far more than it has bytes.

    Args:
        file: the archive.
        name: it in the user's words.

    Raises:
        LoadError: it does.
    """
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    packed = file.seek(0, 2)
    if unpacked > _UNPACKED * packed:
        raise LoadError(
            "RS314",
            f"{name} was not loaded: it unpacks to {unpacked // packed} times its size",
            details=[("size", f"{size(packed)}, unpacked {size(unpacked)}")],
            remedies=[SAVE_WEIGHTS],
        )


def verify(path: Path, name: str) -> Note:
    """Read every byte of a file, and compare it with the checksums that a zip archive carries.

    Args:
        path: a file, or a directory whose own files are looked at.
        name: it in the user's words.

    Returns:
        The note that says how much was checked.

    Raises:
        LoadError: a byte does not agree, or the file is no whole archive.
    """
    files = sorted(part for part in path.iterdir() if part.is_file()) if path.is_dir() else [path]
    kinds = {part: format_of(part) for part in files}
    for part, kind in kinds.items():
        if kind in {Kind.DAMAGED_ZIP, Kind.TRUNCATED_ZIP}:
            error = refuse(part, name, kind)
            raise error
    archives = [part for part, kind in kinds.items() if kind in _ARCHIVES]
    entries = sum(_verify(part, name) for part in archives)
    if archives:
        return Note(
            "RS348", f"{display_name(path.name)} was verified: its {entries} entries agree with their checksums"
        )
    what = "its files carry" if path.is_dir() else f"a {format_of(path)} carries"
    return Note("RS348", f"{display_name(path.name)} was not verified: {what} no checksum, so damage cannot be told")


def _verify(path: Path, name: str) -> int:
    """The number of entries in an archive, all of them sound; nothing is unpacked to disk."""
    with path.open("rb") as file:
        check_size(file, name)
        try:
            with zipfile.ZipFile(file) as archive:
                broken = archive.testzip()
                entries = len(archive.namelist())
        except Exception as error:  # the content chooses what goes wrong
            raise _damaged(name, f"{type(error).__name__}: {error}") from error
    if broken is not None:
        raise _damaged(name, f"its entry {broken} does not agree with its checksum (CRC-32)")
    return entries


def _damaged(name: str, why: str) -> LoadError:
    return LoadError(
        "RS360", f"{name} was not loaded: it is damaged", details=[("found", display_name(why))], remedies=[AGAIN]
    )
