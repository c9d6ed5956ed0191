"""The directory at the end of a zip archive: where it lies, and whether every reader takes the same for it.

Python's zipfile takes the bytes just before the last record for the directory, torch's reader those that the record
points at. Where these are not the same, what is said of an archive would not be what is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LENGTH, _LENGTH64, _LENGTH_LOCATOR = 22, 56, 20
# A comment of up to 64 KiB may follow the last record.
_TAIL = _LENGTH + 2**16 - 1


def directory_size(path: Path) -> int | None:
    """How many bytes the directory of an archive takes.

    Args:
        path: a file.

    Returns:
        The number; 0 where there is no directory, None where its readers could take different bytes for it.
    """
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(max(0, length - _TAIL))
        tail = file.read()
        found = tail.rfind(_END)
        record = tail[found : found + _LENGTH]
        if found < 0 or len(record) < _LENGTH:
            return 0
        end = length - len(tail) + found
        size, offset = (int.from_bytes(record[at : at + 4], "little") for at in (12, 16))
        file.seek(max(0, end - _LENGTH_LOCATOR))
        locator = file.read(_LENGTH_LOCATOR)
        if locator.startswith(_LOCATOR):  # the numbers did not fit into 32 bits, and stand in another record
            end -= _LENGTH_LOCATOR + _LENGTH64
            file.seek(max(0, end))
            large = file.read(_LENGTH64)
            if not large.startswith(_END64) or int.from_bytes(locator[8:16], "little") != end:
                return None
            size, offset = (int.from_bytes(large[at : at + 8], "little") for at in (40, 48))
    whole = found + _LENGTH + int.from_bytes(record[20:22], "little") == len(tail)
    return size if whole and offset + size == end else None
