"""Formats without a magic number, told by the first fields of their messages: protocol buffers and msgpack.

A protocol buffer is a row of fields: a tag (number of the field times 8, plus 2 for bytes), a length, and that many
bytes. The numbers are those of onnx.proto, saved_model.proto, graph.proto and Core ML's Model.proto.
"""

from __future__ import annotations

import re


def is_onnx(head: bytes) -> bool:
    """Whether an ONNX ModelProto begins here.

    Args:
        head: the first bytes of a file.

    Returns:
        True for field 1 (ir_version, a small number), then the producer, domain or doc as text, or the graph or opset.
    """
    if not (len(head) > 3 and head[0] == 0x08 and 1 <= head[1] < 0x40):
        return False
    if head[2] in {0x12, 0x1A, 0x22, 0x32}:
        text, _ = _bytes(head, 3)
        return _printable(text)
    return head[2] in {0x3A, 0x42}


def producer(head: bytes) -> str | None:
    """The program that wrote an ONNX file.

    Args:
        head: its first bytes.

    Returns:
        The producer's name and version, or None where they do not come first.

    Example:
        >>> producer(bytes([8, 8, 0x12, 7]) + b"pytorch" + bytes([0x1A, 5]) + b"2.9.1")
        'pytorch 2.9.1'
    """
    at, found = 2, []
    for tag in (0x12, 0x1A):
        if head[at : at + 1] == bytes([tag]):
            text, at = _bytes(head, at + 1)
            found.append(text.decode("utf-8", "replace"))
    return " ".join(found) or None


def is_saved_model(head: bytes) -> bool:
    """Whether a TensorFlow SavedModel begins here.

    Args:
        head: the first bytes of a file.

    Returns:
        True for version 1, then a graph that begins with its meta information.
    """
    if not head.startswith(b"\x08\x01\x12"):
        return False
    _, start = _number(head, 3)
    return head[start : start + 1] == b"\x0a"


def is_graph_def(head: bytes) -> bool:
    """Whether a frozen TensorFlow graph begins here.

    Args:
        head: the first bytes of a file.

    Returns:
        True for a node whose first fields are a name and an operation, as in ``x`` and ``Placeholder``.
    """
    if not head.startswith(b"\x0a"):
        return False
    _, start = _number(head, 1)
    if head[start : start + 1] != b"\x0a":
        return False
    name, at = _bytes(head, start + 1)
    operation, _ = _bytes(head, at + 1)
    return head[at : at + 1] == b"\x12" and _printable(name) and bool(re.fullmatch(rb"[A-Z]\w+", operation))


def is_coreml(head: bytes) -> bool:
    """Whether a Core ML model begins here.

    Args:
        head: the first bytes of a file.

    Returns:
        True for the version of the specification, then a description that begins with the inputs.
    """
    if not (len(head) > 4 and head[0] == 0x08 and 1 <= head[1] < 0x20 and head[2] == 0x12):
        return False
    _, start = _number(head, 3)
    return head[start : start + 1] == b"\x0a"


def is_msgpack(head: bytes) -> bool:
    """Whether a msgpack map begins here, as Flax writes its weights.

    Args:
        head: the first bytes of a file.

    Returns:
        True for a map whose first key is printable text.
    """
    if not head or not (0x81 <= head[0] <= 0x8F or head[0] in {0xDE, 0xDF}):
        return False
    at = {0xDE: 3, 0xDF: 5}.get(head[0], 1)
    mark = head[at : at + 1]
    if mark and 0xA1 <= mark[0] <= 0xBF:
        key = head[at + 1 : at + 1 + mark[0] - 0xA0]
        return len(key) == mark[0] - 0xA0 and _printable(key)
    if mark == b"\xd9":
        length = head[at + 1] if len(head) > at + 1 else 0
        return 0 < length == len(head[at + 2 : at + 2 + length]) and _printable(head[at + 2 : at + 2 + length])
    return False


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    for byte in data[at : at + 10]:
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at
    return 0, len(data)


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """A run of bytes with its length before it, and where it ends."""
    length, start = _number(data, at)
    return data[start : start + length], start + length


def _printable(text: bytes) -> bool:
    return bool(text) and all(0x20 <= byte < 0x7F for byte in text)
