"""State dicts: names to tensors, read from torch.save files and safetensors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from rankscope.errors import LoadError
from rankscope.formats import AGAIN, SAVE_WEIGHTS, Kind, format_of, refuse, size
from rankscope.records import Note, display_name
from rankscope.sources import _restricted
from rankscope.sources._weights import listed

State = Mapping[str, torch.Tensor]
# Where training loops keep the weights beside the state of the optimizer.
_NESTED = ("model", "state_dict", "model_state", "model_state_dict", "net", "module", "params", "weights", "ema")
# What lies beside them and may hold tensors too.
_NO_WEIGHTS = ("optim", "rng", "sched", "lr_", "scaler", "grad_scaler", "loops", "callbacks", "hyper_parameters")
_DEPTH = 3
_LISTED = 5
_SEARCHED = 100
_THEN = ("Then", "rankscope probe weights.pt --arch yourmodule:Net")


def read(path: Path, name: str) -> State:
    """The tensors of a file that runs nothing.

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
    return state_dict(_restricted.load(path, name, kind)[0], name)[0]


def state_dict(content: Any, name: str, flags: str = "") -> tuple[State, tuple[Note, ...]]:
    """The weights in the content of a file.

    Args:
        content: what the file held.
        name: the file in the user's words.
        flags: those of trust that it took to read it.

    Returns:
        Names to tensors, with a note where they lay inside of something else.

    Raises:
        LoadError: there are none, or it is a whole module.
    """
    content, notes = weights_or_module(content, name)
    if isinstance(content, nn.Module):
        remedies = [("Probe it as it is", f"rankscope probe {name}{flags}"), SAVE_WEIGHTS]
        raise LoadError("RS316", f"{name} was not loaded: it holds a whole module, not a state dict", remedies=remedies)
    return content, notes


def weights_or_module(content: Any, name: str) -> tuple[State | nn.Module, tuple[Note, ...]]:
    """The one set of weights, or the one module, in the content of a file.

    Training loops save the weights beside the state of the optimizer. Where one thing alone can be meant it is taken,
    and said; of several none is.

    Args:
        content: what the file held.
        name: the file in the user's words.

    Returns:
        A state dict or a module, with a note where it lay inside of something else.

    Raises:
        LoadError: there is nothing of the kind, or more than one.
    """
    if isinstance(content, nn.Module) or is_state_dict(content):
        return content, ()
    found = _inside(content) if isinstance(content, Mapping) else {}
    if not found:
        what = f"a dict of {listed(content) or 'nothing'}" if isinstance(content, Mapping) else _a(type(content))
        headline = f"{name} was not loaded: it holds {what}, not a state dict"
        if isinstance(content, torch.Tensor):
            raise LoadError(
                "RS316", headline, remedies=[("Numbers are inputs", f"rankscope probe MODEL --input {name}")]
            )
        deep = _deep(content, ())
        raise LoadError("RS316", headline, remedies=[*_taken(deep, name), _THEN] if deep else [SAVE_WEIGHTS])
    if len(found) > 1:
        error = _several(found, name)
        raise error
    ((path, value),) = found.items()
    what = "the module" if isinstance(value, nn.Module) else "the tensors"
    beside = listed([key for key in content if key != path[0]]) or "nothing"
    return value, (
        Note(
            "RS349", f"of {display_name(Path(name).name)}, {what} under {_spoken(path)!r} are used; beside it: {beside}"
        ),
    )


def _inside(content: Mapping[Any, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], State | nn.Module]:
    """The state dicts and modules in a dict, each once, by the keys that lead to them."""
    found: dict[tuple[str, ...], State | nn.Module] = {}
    for key, value in content.items():
        if not isinstance(key, str) or key.lower().startswith(_NO_WEIGHTS):
            continue
        if isinstance(value, nn.Module) or is_state_dict(value):
            found[*path, key] = value
        elif isinstance(value, Mapping) and key in _NESTED and len(path) < _DEPTH:
            found |= _inside(value, (*path, key))
    first = {id(value): path for path, value in reversed(found.items())}  # one thing may lie under two names
    return {path: value for path, value in found.items() if first[id(value)] == path}


def _several(found: Mapping[tuple[str, ...], State | nn.Module], name: str) -> LoadError:
    """The error for several sets of weights: how large each is, and how to take one out."""
    details = []
    for path, value in itertools.islice(found.items(), _LISTED):
        what = "a whole module" if isinstance(value, nn.Module) else f"{len(value)} tensor{'s' * (len(value) > 1)}"
        details.append((_spoken(path), what))
    remedies = _taken([path for path, value in found.items() if not isinstance(value, nn.Module)], name)
    headline = f"{name} was not loaded: it holds {len(found)} sets of weights, and which is meant cannot be told"
    return LoadError("RS364", headline, details=details, remedies=[*remedies, _THEN] if remedies else [SAVE_WEIGHTS])


def _taken(paths: list[tuple[str, ...]], name: str) -> list[tuple[str, str]]:
    """How the first few sets of weights are each taken out of their file."""
    steps = []
    for path in paths[:_LISTED]:
        if all(part.isidentifier() for part in path):
            keys = "".join(f"[{part!r}]" for part in path)
            command = f"torch.save(torch.load({name!r}, weights_only=True){keys}, 'weights.pt')"
            steps.append((f"Save {_spoken(path)} alone", command))
    return steps


def _deep(content: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The keys that lead to state dicts under names that training loops do not use; only named, never taken."""
    if not isinstance(content, Mapping) or len(path) > _DEPTH:
        return []
    found = []
    for key, value in itertools.islice(content.items(), _SEARCHED):
        if isinstance(key, str) and key.isidentifier() and not key.lower().startswith(_NO_WEIGHTS):
            found += [(*path, key)] if is_state_dict(value) else _deep(value, (*path, key))
    return found


def _spoken(path: tuple[str, ...]) -> str:
    return display_name(".".join(path))


def _a(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOUaeiou' else 'a'} {kind.__name__}"


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
