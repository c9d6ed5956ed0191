"""Placing: the device and dtype a model is measured in."""

from __future__ import annotations

import copy
import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from rankscope.errors import UsageError
from rankscope.registry import unknown_name

if TYPE_CHECKING:
    from torch import nn

    from rankscope.records import Batch, Source

DTYPES = ("float32", "float64", "bfloat16", "float16")


def placed(source: Source, device: str, dtype: str | None) -> tuple[nn.Module, torch.device, torch.dtype | None]:
    """The model on the device and in the dtype asked for; a live module of the user's is copied, never changed.

    Args:
        source: the model.
        device: ``auto`` leaves a live module where it is, and takes CUDA for a loaded one where it answers; else
            ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``float32``, ``float64``, ``bfloat16``, ``float16``, or None for the model's own.

    Returns:
        The model, the device, and the dtype that floating inputs are cast to (None: as they are).

    Raises:
        UsageError: the device is not there, or a name is unknown.
    """
    model = source.model
    tensor = next((t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), None)
    here = tensor.device if tensor is not None else torch.device("cpu")
    there = _device(device, here, live=source.format == "module")
    if dtype is not None and dtype not in DTYPES:
        error = unknown_name("dtype", dtype, list(DTYPES))
        raise error
    wanted: torch.dtype | None = getattr(torch, dtype) if dtype else None
    if there != here or (wanted is not None and tensor is not None and tensor.dtype != wanted):
        if source.format == "module":
            model = copy.deepcopy(model)
        model = model.to(device=there, dtype=wanted)
    return model, there, wanted or (tensor.dtype if tensor is not None else None)


def _device(name: str, here: torch.device, *, live: bool) -> torch.device:
    if name == "auto":
        cuda = torch.device("cuda")
        return here if live or not _answers(cuda) else cuda
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        error = unknown_name("device", name, ["auto", "cpu", "cuda", "cuda:0", "mps"])
        raise error
    device = torch.device(name)
    if device.type != "cpu" and not _answers(device):
        raise UsageError(
            "RS113",
            f"--device {name}: no such device answers",
            remedies=[("Measure on the processor", "--device cpu, or leave the option out")],
        )
    return device


def _answers(device: torch.device) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a driver that is too old is no device, and says so by a warning
        if device.type == "mps":
            return torch.backends.mps.is_available()
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()


def to_model(batch: Batch, device: torch.device, dtype: torch.dtype | None) -> Batch:
    """A batch on the device of the model, floating tensors in its dtype.

    Args:
        batch: the batch.
        device: where the model is.
        dtype: the dtype of the model; None leaves floating tensors as they are.

    Returns:
        The batch, or a copy.

    Example:
        >>> from rankscope.records import Batch
        >>> to_model(Batch((torch.zeros(2, 3).double(),)), torch.device("cpu"), torch.float32).args[0].dtype
        torch.float32
    """

    def move(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
        return value

    keep = {name: mask.to(device) for name, mask in batch.keep.items()}
    return replace(batch, args=tree_map(move, batch.args), kwargs=tree_map(move, dict(batch.kwargs)), keep=keep)
