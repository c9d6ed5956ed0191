"""What files without a directory of content hold, by their headers: safetensors, GGUF, ONNX, arrays, placeholders."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import struct
import zipfile
from collections import Counter
from typing import TYPE_CHECKING, Any

from rankscope.errors import LoadError
from rankscope.formats._bounded import count
from rankscope.formats._description import Description, listed, many
from rankscope.formats._messages import producer
from rankscope.formats._refusals import AGAIN
from rankscope.records import display_name

if TYPE_CHECKING:
    from pathlib import Path

# The header of a model of ten thousand tensors takes 1.5 MB; json reads some 50 MB a second.
_HEADER = 2**23
_HEAD = 2**12
_SPEC = "rankscope.spec"


def safetensors(path: Path, base: Description) -> Description:
    """Describe a safetensors file by its header.

    Args:
        path: the file.
        base: its kind and size.

    Returns:
        The description.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(min(length, _HEADER))
    if length > base.size - 8:
        return base.blocked(_refused(path, "RS312", f"it is truncated: its header alone takes {many(length)} bytes"))
    if length > _HEADER:
        return _with(base, ("header", f"{many(length)} bytes, more than is read here"))
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", {})
        facts, end = _tensors(header)
        facts += _metadata(metadata)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = display_name(f"{type(error).__name__}: {error}")
        return base.blocked(_refused(path, "RS313", f"its header is damaged ({why})"))
    described = dataclasses.replace(
        base, facts=tuple(facts), loads="without a flag" if _SPEC in metadata else base.loads
    )
    missing = 8 + length + end - base.size
    if missing > 0:
        return described.blocked(
            _refused(path, "RS312", f"it is truncated: its last {many(missing)} bytes are missing")
        )
    if missing < 0:
        return described.blocked(_refused(path, "RS313", f"{many(-missing)} bytes follow the last tensor"))
    return described


def _tensors(header: dict[str, Any]) -> tuple[list[tuple[str, str]], int]:
    """Facts on the tensors of a header, and where the last one ends."""
    sorts = Counter(str(entry["dtype"]) for entry in header.values())
    numbers = sum(count(entry["shape"]) for entry in header.values())
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    _check_layout(header)
    facts = [
        ("tensors", f"{many(len(header))}, of {many(numbers)} numbers: {listed(list(header), 3)}"),
        ("types", listed([f"{sort} ({count})" for sort, count in sorts.most_common()])),
    ]
    return facts, int(end)


def _check_layout(header: dict[str, Any]) -> None:
    """Refuse tensors that overlap, leave a hole, or take another number of bytes than their shape says."""
    at = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = entry["data_offsets"]
        bits = re.search(r"\d+", entry["dtype"])
        width = 8 if entry["dtype"] == "BOOL" else int(bits[0]) if bits else 0
        if start != at or (width and end - start != count(entry["shape"]) * width // 8):
            raise ValueError(f"the place of {display_name(name)} does not fit")
        at = end


def _metadata(metadata: dict[str, str]) -> list[tuple[str, str]]:
    facts = [("metadata", listed(list(metadata)))] if metadata else []
    if _SPEC in metadata:
        facts.append(("architecture", display_name(str(metadata[_SPEC]))))
    return facts


def gguf(path: Path, base: Description) -> Description:
    """Describe a GGUF file by its first fields: version, number of tensors, number of keys.

    Args:
        path: the file.
        base: its kind and size, and why it is refused.

    Returns:
        The description.
    """
    head = _head(path)
    if len(head) < 24:
        return base
    version, tensors, keys = struct.unpack("<IQQ", head[4:24])
    return _with(base, ("version", str(version)), ("tensors", many(tensors)), ("metadata keys", many(keys)))


def onnx(path: Path, base: Description) -> Description:
    """Describe an ONNX graph by its first fields.

    Args:
        path: the file.
        base: its kind and size, and why it is refused.

    Returns:
        The description.
    """
    head = _head(path)
    made_by = producer(head)
    facts = [("IR version", str(head[1]))]
    return _with(base, *facts, *([("made by", display_name(made_by))] if made_by else []))


def numpy_arrays(path: Path, base: Description) -> Description:
    """Describe a .npy file by its header, or a .npz by the names of its arrays.

    Args:
        path: the file.
        base: its kind and size, and why it is refused.

    Returns:
        The description.
    """
    head = _head(path)
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
        return _with(base, ("arrays", listed(names)))
    header = re.search(rb"'descr': '?([^',]+)'?.*?'shape': (\([\d, ]*\))", head)
    if not header:
        return base
    return _with(base, ("type", header[1].decode("latin1")), ("shape", header[2].decode("latin1")))


def lfs_pointer(path: Path, base: Description) -> Description:
    """Describe the file that a git-lfs pointer stands for.

    Args:
        path: the file.
        base: its kind and size, and why it is refused.

    Returns:
        The description.
    """
    text = _head(path).decode("utf-8", "replace")
    found = [
        (label, re.search(rf"^{key} (\S+)", text, re.MULTILINE))
        for label, key in (("stands for", "oid"), ("of size", "size"))
    ]
    return _with(base, *((label, display_name(match[1])) for label, match in found if match))


def web_page(path: Path, base: Description) -> Description:
    """Describe a web page by its title.

    Args:
        path: the file.
        base: its kind and size, and why it is refused.

    Returns:
        The description.
    """
    title = re.search(r"<title[^>]*>([^<]*)", _head(path).decode("utf-8", "replace"), re.IGNORECASE)
    return _with(base, ("title", display_name(html.unescape(title[1]).strip()))) if title else base


def shard_index(path: Path, base: Description) -> Description:
    """Describe the index of a split model by the files it names.

    Args:
        path: the file.
        base: its kind and size, and why it is refused.

    Returns:
        The description.
    """
    with path.open("rb") as file:
        text = file.read(_HEADER)
    try:
        parts = json.loads(text)["weight_map"]
        files = sorted({str(part) for part in parts.values()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = display_name(f"{type(error).__name__}: {error}")
        return base.blocked(_refused(path, "RS313", f"it cannot be read ({why})"))
    return _with(base, ("tensors", many(len(parts))), ("in files", listed(files)))


def text(path: Path, base: Description) -> Description:
    """Describe a text by its first line.

    Args:
        path: the file.
        base: its kind and size, and why it is refused.

    Returns:
        The description.
    """
    lines = _head(path).decode("utf-8", "replace").strip().splitlines()
    return _with(base, ("begins", display_name(lines[0][:80]))) if lines else base


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _with(base: Description, *facts: tuple[str, str]) -> Description:
    return dataclasses.replace(base, facts=(*base.facts, *facts))


def _refused(path: Path, code: str, what: str) -> LoadError:
    return LoadError(code, f"{path} was not loaded: {what}", remedies=[AGAIN])
