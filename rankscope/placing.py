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
from rankscope.memory import default
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
        The model, the device, and the dtype that floating inputs are cast to (None: as they are, where the
        parameters are of several).

    Raises:
        UsageError: the device is not there, or a name is unknown.
    """
    model = source.model
    every = [t for t in (*model.parameters(), *model.buffers()) if not t.is_meta]
    tensors = [t for t in every if t.is_floating_point() or t.is_complex()]
    here = {t.device for t in tensors} or {torch.device("cpu")}
    first = tensors[0].device if tensors else torch.device("cpu")
    check_place(device, dtype)
    there = _device(device, first, live=source.format == "module")
    wanted: torch.dtype | None = getattr(torch, dtype) if dtype else None
    stays = device == "auto" and there == first  # a model that lies on several devices stays as it is
    if not (stays or here == {there}) or any(wanted not in {None, t.dtype} for t in tensors):
        model = _moved(model, there, wanted, live=source.format == "module")
    own = {p.dtype for p in model.parameters() if p.is_floating_point()}
    own = own or {t.dtype for t in tensors if t.is_floating_point()}
    return model, there, wanted or (own.pop() if len(own) == 1 else None)


def check_place(name: str, dtype: str | None) -> None:
    """Refuse a device or a dtype that cannot be had, before a model is opened.

    Args:
        name: of the device, as `placed` takes it.
        dtype: its name, or None.

    Raises:
        UsageError: the device is not there, or a name is unknown.
    """
    if dtype is not None and dtype not in DTYPES:
        error = unknown_name("dtype", dtype, list(DTYPES))
        raise error
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        error = unknown_name("device", name, ["auto", "cpu", "cuda", "cuda:0", "mps"])
        raise error
    if name not in {"auto", "cpu"} and not _answers(torch.device(name)):
        raise UsageError(
            "RS113",
            f"--device {name}: no such device answers",
            remedies=[("Measure on the processor", "--device cpu, or leave the option out")],
        )


def free_share(device: torch.device) -> int:
    """The memory that rankscope takes where no allowance is given: half of what is free where the model is.

    Args:
        device: of the model.

    Returns:
        Bytes.
    """
    return default(torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None)


def _moved(model: nn.Module, device: torch.device, dtype: torch.dtype | None, *, live: bool) -> nn.Module:
    """The model on another device or in another dtype; of a live one a copy."""
    try:
        if dtype is not None and any(tensor.is_complex() for tensor in (*model.parameters(), *model.buffers())):
            raise TypeError("its complex parameters would lose their imaginary parts")  # noqa: TRY301 - told below
        model = copy.deepcopy(model) if live else model
        return model.to(device=device, dtype=dtype)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        wanted = ", ".join(str(part).removeprefix("torch.") for part in (device, dtype) if part is not None)
        raise UsageError(
            "RS408",
            f"{type(model).__name__} was not moved to {wanted}: {str(error).splitlines()[0][:200]}",
            remedies=[("Move it yourself, and measure it as it is", "leave --device and --dtype out")],
        ) from error


def _device(name: str, here: torch.device, *, live: bool) -> torch.device:
    if name == "auto":
        cuda = torch.device("cuda")
        return here if live or not _answers(cuda) else cuda
    return torch.device(name)


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

    keep = {name: mask.cpu() for name, mask in batch.keep.items()}  # looked at by the program, not by the model
    return replace(batch, args=tree_map(move, batch.args), kwargs=tree_map(move, dict(batch.kwargs)), keep=keep)
