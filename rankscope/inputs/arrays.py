"""Inputs from a file: .npy, .npz, .safetensors and .pt, recognised by content. Nothing in a file is ever run."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rankscope.errors import InputError, LoadError
from rankscope.formats import Kind, format_of
from rankscope.inputs.values import to_tensor
from rankscope.sources._restricted import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SAVE = ("Save arrays", "np.savez('inputs.npz', x=array)")


def read_file(path: Path) -> Any:
    """Read a file of inputs.

    Args:
        path: the file.

    Returns:
        A tensor (.npy), names to tensors (.npz, .safetensors), or what was saved (.pt): a tensor, tuple, dict or list.

    Raises:
        InputError: there is no such file, it is of no known kind or damaged, or it would have to run code.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise InputError(
            "RS204",
            f"the inputs {path} were not read: {error.strerror or error}",
            remedies=[("Look", f"ls {path.parent}")],
        ) from error
    try:
        return _reader(path, head)(path)
    except InputError:
        raise
    except Exception as error:  # the readers raise many kinds for a damaged file
        raise InputError(
            "RS205",
            f"the inputs {path.name} were not read: the file is damaged, or cut short",
            details=[("reader", f"{type(error).__name__} {_line(error)}")],
            remedies=[("Write or copy it again; its size now", f"ls -l {path.name}")],
        ) from error


def _line(error: Exception) -> str:
    """The first line of an error's text."""
    return str(error).partition("\n")[0][:200]


def _reader(path: Path, head: bytes) -> Callable[[Path], Any]:
    """The reader for a file that starts so."""
    if head.startswith(b"\x93NUMPY"):
        return _npy
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):
            return _torch
        if all(name.endswith(".npy") for name in names):
            return _npz
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return _safetensors
    if head.startswith(b"\x80"):
        return _torch
    raise InputError(
        "RS205",
        f"the inputs {path.name} were not read: the content is no .npy, .npz, .safetensors or .pt",
        remedies=[_SAVE, ("If it is text", f"--text {path.name}")],
    )


def _npy(path: Path) -> torch.Tensor:
    return to_tensor(_load(path))


def _npz(path: Path) -> dict[str, torch.Tensor]:
    with _load(path) as archive:
        return {name: to_tensor(_numbers(path, archive, name)) for name in archive.files}


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise _code(path) if "allow_pickle" in str(error) else error from None


def _numbers(path: Path, archive: Any, name: str) -> Any:
    try:
        return archive[name]
    except ValueError as error:
        raise _code(path) if "allow_pickle" in str(error) else error from None


def _code(path: Path, wanted: str = "Python objects") -> InputError:
    """The error for a file that holds more than numbers."""
    return InputError(
        "RS206",
        f"the inputs {path.name} were not read: the file holds {wanted}, and reading those could run code",
        remedies=[_SAVE, ("Make the batches in your own code", "--inputs file.py:batches")],
    )


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    loaded: dict[str, torch.Tensor] = load_file(path)
    return loaded


def _torch(path: Path) -> Any:
    kind = format_of(path)
    if kind not in {Kind.TORCH_ZIP, Kind.TORCH_LEGACY}:
        raise _code(path, "Python objects from torch.save")
    try:
        loaded, _ = load(path, path.name, kind)
    except LoadError as error:
        wanted = dict(error.details).get("wants")
        if wanted is not None:
            raise _code(path, f"{wanted} from torch.save") from error
        raise InputError(
            "RS205",
            f"the inputs {path.name} were not read: {error.headline.partition(': ')[2]}",
            details=error.details,
            remedies=[_SAVE],
        ) from error
    for leaf in torch.utils._pytree.tree_leaves(loaded):
        if not isinstance(leaf, torch.Tensor | bool | int | float | str | None):
            raise InputError(
                "RS207",
                f"the inputs {path.name} were not read: they hold {type(leaf).__name__}, expected tensors",
                remedies=[("Save tensors", "torch.save({'x': tensor}, 'inputs.pt')")],
            )
    return torch.utils._pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, loaded)
