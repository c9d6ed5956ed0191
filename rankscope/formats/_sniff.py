"""What a file is, told from its first bytes and its zip directory: nothing is run, and the suffix is not asked."""

from __future__ import annotations

import codecs
import zipfile
from enum import StrEnum
from typing import TYPE_CHECKING

from rankscope.errors import LoadError

if TYPE_CHECKING:
    from pathlib import Path


class Kind(StrEnum):
    """The kinds of content, each in the words of an error message."""

    TORCH_ZIP = "torch.save archive"
    TORCH_LEGACY = "torch.save file of the old format"
    SAFETENSORS = "safetensors file"
    HF_DIRECTORY = "Hugging Face directory"
    TORCHSCRIPT = "TorchScript archive"
    EXPORTED = "torch.export archive (.pt2)"
    AOTINDUCTOR = "compiled AOTInductor package"
    TORCH_PACKAGE = "torch.package archive"
    LIGHTNING = "Lightning checkpoint"
    DCP_DIRECTORY = "distributed checkpoint (DCP) directory"
    DIRECTORY = "directory without config.json"
    PICKLE = "plain pickle"
    GGUF = "GGUF file (llama.cpp)"
    ONNX = "ONNX graph"
    HDF5 = "HDF5 file (Keras)"
    NUMPY = "NumPy array file"
    LFS_POINTER = "git-lfs pointer, not the file it stands for"
    HTML = "web page (HTML), not a model"
    TEXT = "text file"
    EMPTY = "empty file"
    TRUNCATED_ZIP = "zip archive without its directory"
    DAMAGED_ZIP = "damaged zip archive"
    ZIP = "zip archive of something else"
    COMPRESSED = "compressed or packed archive"
    UNKNOWN = "file of no known kind"


HEAD = 512
# The magic number of torch.save before 1.6 (torch.serialization.MAGIC_NUMBER), as every pickle protocol writes it.
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_MAGIC = {
    b"\x89HDF\r\n\x1a\n": Kind.HDF5,
    b"GGUF": Kind.GGUF,
    b"\x93NUMPY": Kind.NUMPY,
    b"version https://git-lfs": Kind.LFS_POINTER,
    b"\x1f\x8b": Kind.COMPRESSED,  # gzip
    b"\xfd7zXZ\x00": Kind.COMPRESSED,
    b"BZh": Kind.COMPRESSED,
    b"\x28\xb5\x2f\xfd": Kind.COMPRESSED,  # zstandard
    b"7z\xbc\xaf\x27\x1c": Kind.COMPRESSED,
}
# safetensors refuses a longer header too (MAX_HEADER_SIZE in its source).
_SAFETENSORS_HEADER = 100_000_000


def format_of(path: Path) -> Kind:
    """What a file or directory is, by its content alone.

    Args:
        path: an existing file or directory.

    Returns:
        The kind; `Kind.UNKNOWN` where nothing is recognised.

    Raises:
        LoadError: the path does not exist, is no regular file, or may not be read.

    Example:
        >>> from pathlib import Path
        >>> format_of(Path(__file__))
        <Kind.TEXT: 'text file'>
    """
    if path.is_dir():
        return _directory(path)
    if not path.exists():
        raise LoadError("RS310", f"{path} was not loaded: no such file")
    if not path.is_file():
        raise LoadError("RS311", f"{path} was not loaded: it is no regular file (a pipe or a device)")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        return _zip(path) if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) else _flat(head)
    except OSError as error:
        raise LoadError("RS311", f"{path} was not loaded: it cannot be read ({error.strerror or error})") from error


def _directory(path: Path) -> Kind:
    if (path / "config.json").is_file():
        return Kind.HF_DIRECTORY
    return Kind.DCP_DIRECTORY if (path / ".metadata").is_file() else Kind.DIRECTORY


def _flat(head: bytes) -> Kind:
    """The kind of a file that is no zip."""
    if not head:
        return Kind.EMPTY
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[2:].startswith(_LEGACY) or head[11:].startswith(_LEGACY):  # protocol 4 puts a frame before it
        return Kind.TORCH_LEGACY
    if head[0] == 0x80 and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return Kind.PICKLE
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _SAFETENSORS_HEADER:
        return Kind.SAFETENSORS
    if head[257:262] == b"ustar":
        return Kind.COMPRESSED
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return Kind.HTML
    if _is_onnx(head):
        return Kind.ONNX
    return Kind.TEXT if _is_text(head) else Kind.UNKNOWN


def _is_onnx(head: bytes) -> bool:
    """A ModelProto: field 1 (ir_version, a small number), then the producer, domain, doc, graph or opset as bytes."""
    return len(head) > 3 and head[0] == 0x08 and 1 <= head[1] < 0x40 and head[2] in {0x12, 0x1A, 0x22, 0x32, 0x3A, 0x42}


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)  # a character cut at the end is no fault
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\t\r\n\f" for c in text)


def _zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            return _archive(archive)
    except Exception:  # zipfile raises a dozen kinds, as the content chooses; each means the same
        return Kind.DAMAGED_ZIP if _has_end_record(path) else Kind.TRUNCATED_ZIP


def _has_end_record(path: Path) -> bool:
    """Whether the 22 bytes that end a zip directory are there; a comment of up to 64 KiB may follow them."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 65_557))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    return at >= 0 and len(tail) - at >= 22


def _archive(archive: zipfile.ZipFile) -> Kind:
    """The kind of a sound zip, by the names in its directory. torch writes all entries into one folder."""
    names = archive.namelist()
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        return Kind.TORCHSCRIPT
    if any("data/aotinductor/" in name for name in names):
        return Kind.AOTINDUCTOR
    if "archive_format" in inner or "serialized_exported_program.json" in {*inner, *names}:
        return Kind.EXPORTED
    if ".data/extern_modules" in inner:
        return Kind.TORCH_PACKAGE
    pickles = [name for name in names if name.partition("/")[2] == "data.pkl"]
    if pickles:
        with archive.open(pickles[0]) as file:  # Lightning writes its version among the first keys
            return Kind.LIGHTNING if b"pytorch-lightning_version" in file.read(1 << 20) else Kind.TORCH_ZIP
    return Kind.NUMPY if names and all(name.endswith(".npy") for name in names) else Kind.ZIP
