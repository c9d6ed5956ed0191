"""State dicts: names to tensors, read from torch.save files and safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from rankscope.errors import LoadError
from rankscope.formats import AGAIN, SAVE_WEIGHTS, Kind, format_of, refuse, size
from rankscope.records import display_name
from rankscope.sources import _restricted
from rankscope.sources._weights import listed

if TYPE_CHECKING:
    from pathlib import Path

State = Mapping[str, torch.Tensor]
# Where training loops keep the weights beside the state of the optimizer.
_NESTED = ("model", "state_dict", "model_state", "model_state_dict", "net", "module", "params", "weights", "ema")


def read(path: Path, name: str) -> State:
    """The tensors of a weights file, by name.

    Args:
        path: a state dict of torch.save, old or new format, or a safetensors file.
        name: the file in the user's words.

    Returns:
        Names to tensors, on the CPU.

    Raises:
        LoadError: the file is missing, refused, or holds something else than a state dict.
    """
    kind = format_of(path)
    if kind is Kind.SAFETENSORS:
        return read_safetensors(path, name)[0]
    if kind not in {Kind.TORCH_ZIP, Kind.TORCH_LEGACY}:
        error = refuse(path, name, kind)
        raise error
    return state_dict(_restricted.load(path, name, kind), name)


def state_dict(content: Any, name: str) -> State:
    """The content of a torch.save file as a state dict.

    Args:
        content: what the file held.
        name: the file in the user's words.

    Returns:
        The content itself.

    Raises:
        LoadError: it is something else.
    """
    if is_state_dict(content):
        return content  # type: ignore[no-any-return]
    if isinstance(content, torch.nn.Module):
        what, remedies = "a whole module", [("Probe it as it is", f"rankscope probe {name}")]
    elif isinstance(content, Mapping):
        what, remedies = _wrapped(content, name)
    else:
        what, remedies = f"a {type(content).__name__}", []
    raise LoadError(
        "RS316", f"{name} was not loaded: it holds {what}, not a state dict", remedies=[*remedies, SAVE_WEIGHTS]
    )


def is_state_dict(content: Any) -> bool:
    """Whether something maps names to tensors alone, apart from a module's own extra state.

    Args:
        content: anything.

    Returns:
        True for a state dict that is not empty.
    """
    return (
        isinstance(content, Mapping)
        and any(isinstance(value, torch.Tensor) for value in content.values())
        and all(
            isinstance(key, str) and (isinstance(value, torch.Tensor) or key.endswith("_extra_state"))
            for key, value in content.items()
        )
    )


def _wrapped(content: Mapping[Any, Any], name: str) -> tuple[str, list[tuple[str, str]]]:
    """What a mapping holds that is no state dict, and how to take the weights out of it."""
    keys = listed(content) or "nothing"
    inner = [key for key in _NESTED if is_state_dict(content.get(key))]
    if not inner:
        return f"a dict of {keys}", []
    command = f"torch.save(torch.load({name!r}, weights_only=True)[{inner[0]!r}], 'weights.pt')"
    return f"a dict of {keys}, with the weights under {inner[0]!r}", [("Save that part alone", command)]


def read_safetensors(path: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the header of a safetensors file.

    Args:
        path: the file.
        name: the file in the user's words.

    Returns:
        Names to tensors on the CPU, and the metadata of the header.

    Raises:
        LoadError: the file is cut or damaged.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        text = str(error)
        facts = [("size", size(path.stat().st_size)), ("safetensors says", display_name(text))]
        if "not fully covered" in text or "invalid header length" in text or "header too small" in text:
            raise LoadError(
                "RS312", f"{name} is truncated: its end is missing", details=facts, remedies=[AGAIN]
            ) from error
        raise LoadError("RS313", f"{name} was not loaded: it is damaged", details=facts, remedies=[AGAIN]) from error
