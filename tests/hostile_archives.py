"""Zip archives written by hand, of which two readers may take different parts for the whole."""

from __future__ import annotations

import binascii
import struct
import zlib


def two_directories(first: dict[str, bytes], second: dict[str, bytes]) -> bytes:
    """An archive whose last record points at the directory of `first`, while that of `second` lies just before it.

    Both must be of one length. Entries of `first` are compressed.
    """
    data, places = b"", []
    for entries, packed in ((first, True), (second, False)):
        for name, content in entries.items():
            local, central = _entry(name.encode(), content, packed)
            places.append((entries is first, len(data), central))
            data += local
    there = b"".join(central + struct.pack("<I", at) + name for own, at, (central, name) in places if own)
    shift = len(there)  # zipfile adds what it takes for something before the archive
    here = b"".join(central + struct.pack("<I", at - shift) + name for own, at, (central, name) in places if not own)
    assert len(here) == len(there)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, len(second), len(second), len(here), len(data), 0)
    return data + there + here + end


def many_entries(count: int) -> bytes:
    """An archive whose directory is said to be short, and is long by a second record."""
    local, (central, name) = _entry(b"archive/0", b"", packed=False)
    directory = (central + struct.pack("<I", 0) + name) * count
    sizes = (len(directory), len(local))
    large = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, *sizes)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, sum(sizes), 1)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, 100, 2**32 - 1, 0)
    return local + directory + large + locator + end


def _entry(name: bytes, content: bytes, packed: bool) -> tuple[bytes, tuple[bytes, bytes]]:
    """The local part of an entry, and that in the directory: what stands before its place, and its name."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = squeeze.compress(content) + squeeze.flush() if packed else content
    fields = (0, 8 if packed else 0, 0, 33, binascii.crc32(content), len(body), len(content), len(name), 0)
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, *fields) + name + body
    return local, (struct.pack("<4s6H3I5HI", b"PK\x01\x02", 20, 20, *fields, 0, 0, 0, 0), name)
