"""What a file is, told from its first bytes and its zip directory: nothing is run, and the suffix is not asked."""

from __future__ import annotations

import codecs
import re
import zipfile
from typing import TYPE_CHECKING

from rankscope.errors import LoadError
from rankscope.formats._kinds import Kind
from rankscope.formats._messages import is_coreml, is_graph_def, is_msgpack, is_onnx, is_saved_model
from rankscope.formats._zip_directory import directory_size
from rankscope.sums import is_packed

if TYPE_CHECKING:
    from pathlib import Path


HEAD = 512
# The magic number of torch.save before 1.6 (torch.serialization.MAGIC_NUMBER), as every pickle protocol writes it.
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# In the order of asking: an adapter beside the config of its base model is told by what opens the directory.
_DIRECTORIES = {
    Kind.HF_DIRECTORY: ("config.json",),
    Kind.DCP_DIRECTORY: (".metadata",),
    Kind.PEFT_DIRECTORY: ("adapter_config.json",),
    Kind.TENSORFLOW_DIRECTORY: ("saved_model.pb", "saved_model.pbtxt"),
    Kind.COREML_DIRECTORY: ("Data/com.apple.CoreML/model.mlmodel",),
    Kind.TOKENIZER_DIRECTORY: ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.txt", "merges.txt"),
}
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
# zipfile takes 8 microseconds an entry, of 60 to 100 bytes; a model has a thousand, a training state ten thousand.
_ZIP_DIRECTORY = 2**22
# safetensors refuses a longer header too (MAX_HEADER_SIZE in its source).
_SAFETENSORS_HEADER = 100_000_000
_WEIGHT_MAP = re.compile(rb'"weight_map"\s*:\s*\{')
_MESSAGES = {
    Kind.ONNX: is_onnx,
    Kind.TENSORFLOW: lambda head: is_saved_model(head) or is_graph_def(head),
    Kind.COREML: is_coreml,
    Kind.FLAX: is_msgpack,
}


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
        raise LoadError(
            "RS310", f"{path} was not loaded: no such file", remedies=[("Look what is there", f"ls {path.parent}")]
        )
    if not path.is_file():
        # a pipe with a name of its own ends with its writer; a device may never end
        piped = path.is_fifo() and not str(path).startswith(("/dev/", "/proc/"))
        whole = ("Copy what comes from it into a file first", f"cat {path} > model.pt")
        named = ("Name a file", "write the model to a file, and name that")
        headline = f"{path} was not loaded: it is no regular file (a pipe or a device)"
        raise LoadError("RS311", headline, remedies=[whole if piped else named])
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        return _zip(path) if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) else _flat(head)
    except OSError as error:
        raise LoadError(
            "RS311",
            f"{path} was not loaded: it cannot be read ({error.strerror or error})",
            remedies=[("See who may read it", f"ls -l {path}")],
        ) from error


def _directory(path: Path) -> Kind:
    for kind, names in _DIRECTORIES.items():
        if any((path / name).is_file() for name in names):
            return kind
    return Kind.DIRECTORY


def _flat(head: bytes) -> Kind:
    """The kind of a file that is no zip."""
    if not head:
        return Kind.EMPTY
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if (framed := _framed(head)) is not None:
        return framed
    for kind, is_kind in _MESSAGES.items():
        if is_kind(head):
            return kind
    if not _is_text(head):
        return Kind.UNKNOWN
    return Kind.SHARD_INDEX if head.lstrip().startswith(b"{") and _WEIGHT_MAP.search(head) else Kind.TEXT


def _framed(head: bytes) -> Kind | None:
    """The kind of a file whose mark does not stand at its very start."""
    if head[2:].startswith(_LEGACY) or head[11:].startswith(_LEGACY):  # protocol 4 puts a frame before it
        return Kind.TORCH_LEGACY
    if head[0] == 0x80 and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return Kind.PICKLE
    if is_packed(head):
        return Kind.REPORT
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _SAFETENSORS_HEADER:
        return Kind.SAFETENSORS
    if head[257:262] == b"ustar":
        return Kind.COMPRESSED
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return Kind.HTML
    return Kind.TFLITE if head[4:8] == b"TFL3" else None


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)  # a character cut at the end is no fault
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\t\r\n\f" for c in text)


def _zip(path: Path) -> Kind:
    size = directory_size(path)
    if size is None:
        return Kind.DAMAGED_ZIP
    if size > _ZIP_DIRECTORY:
        return Kind.HUGE_ZIP
    try:
        with zipfile.ZipFile(path) as archive:
            return _archive(archive)
    except Exception:  # zipfile raises a dozen kinds, as the content chooses; each means the same
        return Kind.DAMAGED_ZIP if size else Kind.TRUNCATED_ZIP


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
    if {"metadata.json", "config.json"} <= {*names}:
        return Kind.KERAS
    return Kind.NUMPY if names and all(name.endswith(".npy") for name in names) else Kind.ZIP
