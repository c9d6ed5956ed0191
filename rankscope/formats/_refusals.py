"""How a file that holds no model rankscope can read is refused: what it is, and the way out that exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.errors import LoadError
from rankscope.formats._sniff import Kind

if TYPE_CHECKING:
    from pathlib import Path

Remedies = tuple[tuple[str, str], ...]

_REBUILD = ("Give the class and its weights", "rankscope probe yourmodule:Net --weights weights.pt")
AGAIN = ("Get the file again", "download or copy it once more")
SAVE_WEIGHTS = ("Where it was made, save the weights alone", "torch.save(model.state_dict(), 'weights.pt')")
_TORCH_ONLY = ("Give the PyTorch model it was made from", "rankscope probe yourmodule:Net --weights weights.pt")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The code of a kind, why it is refused, and what to do instead, the safest first."""

    code: str
    why: str
    remedies: Remedies


_REFUSALS: dict[Kind, _Refusal] = {
    Kind.TORCHSCRIPT: _Refusal(
        "RS302",
        "loading it runs code, and its layers take no hooks",
        (
            _REBUILD,
            ("Its weights, if you trust the file", "torch.save(torch.jit.load('FILE').state_dict(), 'weights.pt')"),
        ),
    ),
    Kind.EXPORTED: _Refusal(
        "RS302",
        "loading it may run code",
        (
            _REBUILD,
            ("Its weights, if you trust the file", "torch.save(torch.export.load('FILE').state_dict, 'weights.pt')"),
        ),
    ),
    Kind.TORCH_PACKAGE: _Refusal("RS302", "loading it runs the code it carries", (_REBUILD,)),
    Kind.PICKLE: _Refusal(
        "RS302",
        "unpickling runs whatever the file asks for",
        (SAVE_WEIGHTS, _REBUILD),
    ),
    Kind.DCP_DIRECTORY: _Refusal(
        "RS302",
        "its index is a pickle, so loading it may run code",
        (
            _REBUILD,
            (
                "Its weights, if you trust the directory",
                "python -m torch.distributed.checkpoint.format_utils dcp_to_torch DIR weights.pt",
            ),
        ),
    ),
    Kind.AOTINDUCTOR: _Refusal("RS303", "it is native code without layers to look into", (_REBUILD,)),
    Kind.GGUF: _Refusal(
        "RS303",
        "rankscope reads PyTorch models",
        (("Give the directory it was made from", "rankscope probe hf:DIR"),),
    ),
    Kind.ONNX: _Refusal("RS303", "rankscope reads PyTorch models", (_TORCH_ONLY,)),
    Kind.HDF5: _Refusal("RS303", "rankscope reads PyTorch models", (_TORCH_ONLY,)),
    Kind.NUMPY: _Refusal(
        "RS303", "it holds arrays, not a model", (("Arrays are inputs", "rankscope probe MODEL --input FILE"),)
    ),
    Kind.TEXT: _Refusal("RS303", "it holds no model", (("Check the path", "a model is named by its own file"),)),
    Kind.ZIP: _Refusal("RS303", "it holds no data.pkl, so torch.save did not write it", (("Unpack it", "unzip FILE"),)),
    Kind.COMPRESSED: _Refusal("RS303", "a model inside it is out of reach", (("Unpack it", "tar xf FILE"),)),
    Kind.UNKNOWN: _Refusal("RS303", "neither torch.save nor safetensors wrote it", (AGAIN,)),
    Kind.LIGHTNING: _Refusal(
        "RS304",
        "it wraps the weights together with the state of the training",
        (
            (
                "Save its weights alone",
                "torch.save(torch.load('FILE', weights_only=True)['state_dict'], 'weights.pt')",
            ),
            ("Then", "rankscope probe yourmodule:Net --weights weights.pt"),
        ),
    ),
    Kind.LFS_POINTER: _Refusal("RS305", "git has not fetched the file", (("Fetch it", "git lfs pull"),)),
    Kind.HTML: _Refusal(
        "RS305",
        "the download brought a page, such as a log-in or an error",
        (("Get the file again", "download it from the address of the file itself"),),
    ),
    Kind.EMPTY: _Refusal("RS312", "it has 0 bytes", (AGAIN,)),
    Kind.TRUNCATED_ZIP: _Refusal(
        "RS312",
        "the zip directory at its end is missing",
        (("Get the file again", "download or copy it once more; `git lfs pull` if git-lfs tracks it"),),
    ),
    Kind.DAMAGED_ZIP: _Refusal("RS313", "its directory and its content do not agree", (AGAIN,)),
    Kind.DIRECTORY: _Refusal(
        "RS306",
        "it holds no model that rankscope knows by itself",
        (("Name the file inside it", "rankscope probe DIR/model.safetensors --arch yourmodule:Net"),),
    ),
}


def refuse(path: Path, name: str, kind: Kind) -> LoadError:
    """The error for a file of a kind that is not read.

    Args:
        path: where the file is.
        name: the file in the user's words.
        kind: what it is.

    Returns:
        The error, to be raised by the caller.
    """
    facts = [("size", size(path.stat().st_size))] if path.is_file() else []
    if path.suffix == ".safetensors" and kind in {Kind.TEXT, Kind.UNKNOWN}:
        why = "it does not start with the length of a header and '{'"
        return LoadError("RS313", f"{name} was not loaded: its safetensors header is damaged; {why}", details=facts)
    refusal = _REFUSALS[kind]
    remedies = refusal.remedies
    if kind is Kind.TEXT and path.suffix == ".py":
        remedies = (("Name the factory or class in it", "rankscope probe FILE:Net"),)
    if kind is Kind.TRUNCATED_ZIP:
        return LoadError(refusal.code, f"{name} is truncated: {refusal.why}", details=facts, remedies=refusal.remedies)
    article = "an" if kind[0] in "AEIOUaeiou" else "a"
    return LoadError(
        refusal.code,
        f"{name} was not loaded: it is {article} {kind}; {refusal.why}",
        details=facts,
        remedies=[(label, text.replace("FILE", name).replace("DIR", name)) for label, text in remedies],
    )


def refusal(path: Path, name: str, kind: Kind) -> LoadError | None:
    """The error for a file, or None where its kind is read.

    Args:
        path: where the file is.
        name: the file in the user's words.
        kind: what it is.

    Returns:
        The error, which is not raised.
    """
    return refuse(path, name, kind) if kind in _REFUSALS else None


def size(count: int) -> str:
    """A number of bytes for people, in powers of 1000.

    Args:
        count: bytes.

    Returns:
        Such as ``"48.0 MB"``.

    Example:
        >>> size(48_000_000)
        '48.0 MB'
    """
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
