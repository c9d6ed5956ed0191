"""Weights into an architecture: strictly, since a layer left random looks healthy.

Every tensor of the model must be in the file under its name and with its shape, and nothing else. What does not fit is
listed, and a prefix is proposed only where taking it away makes everything fit.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch

from rankscope.errors import LoadError
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import nn

    from rankscope.sources._state import State

_LISTED = 5
# The attributes under which torch.compile, DDP, FSDP and checkpointing keep the module they wrap.
_WRAPPERS = ("_orig_mod.", "module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


def fill(model: nn.Module, state: State, name: str, strip_prefix: str | None = None) -> None:
    """Load weights into a model, strictly.

    Args:
        model: the architecture; its weights are replaced.
        state: names to tensors.
        name: the weights file in the user's words.
        strip_prefix: taken off the names that start with it.

    Raises:
        LoadError: a name is missing or unexpected, or a tensor has another shape or another sort of numbers.
    """
    if strip_prefix:
        state = _strip(state, strip_prefix, name)
    own = {key: value for key, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    if any(_other_numbers(own[key], value) for key, value in state.items() if key in own):
        misfit = _misfit(own, state, name)
        raise misfit
    try:
        # a skeleton on the meta device takes the tensors themselves
        model.load_state_dict(state, strict=True, assign=any(value.is_meta for value in own.values()))
    except Exception as error:
        misfit = _misfit(own, state, name, error)
        raise misfit from error


def listed(names: Collection[object]) -> str:
    """The first few names from a file, made safe to print.

    Args:
        names: all of them.

    Returns:
        Up to five names.

    Example:
        >>> listed("abcdefg")
        'a, b, c, d, e …'
    """
    shown = ", ".join(display_name(str(name)) for name in itertools.islice(names, _LISTED))
    return f"{shown} …" if len(names) > _LISTED else shown


def strip(state: State, prefix: str) -> dict[str, Any]:
    """Take a prefix off the names that start with it; that of a wrapper also inside of names.

    `torch.compile`, DDP, FSDP and activation checkpointing wrap inner modules too: ``layers.0._orig_mod.weight``.

    Args:
        state: names to tensors.
        prefix: with its last dot.

    Returns:
        The tensors under their new names; two of them may have become one.

    Example:
        >>> list(strip({"model.a": 0, "b": 1}, "model.")), list(strip({"layers.0._orig_mod.w": 0}, "_orig_mod."))
        (['a', 'b'], ['layers.0.w'])
    """
    stripped = {key.removeprefix(prefix): value for key, value in state.items()}
    anywhere = prefix in _WRAPPERS and (prefix != "module." or stripped.keys() == state.keys())
    if not anywhere:
        return stripped
    return {f".{key}".replace(f".{prefix}", ".")[1:]: value for key, value in state.items()}


def _strip(state: State, prefix: str, name: str) -> State:
    stripped = strip(state, prefix)
    if stripped.keys() == state.keys() or len(stripped) < len(state):
        why = "two names would become one" if len(stripped) < len(state) else "no name starts with it"
        raise LoadError(
            "RS322",
            f"{name} was not loaded: --strip-prefix {prefix} does not fit; {why}",
            details=[("names", listed(list(state)))],
            remedies=[("Leave it out", "the error then says which prefix would fit, if there is one")],
        )
    return stripped


def _shape(tensor: Any) -> tuple[int, ...] | None:
    """The shape, or None where it is not known yet (lazy modules) or there is none (extra state)."""
    if not isinstance(tensor, torch.Tensor) or torch.nn.parameter.is_lazy(tensor):
        return None
    return tuple(tensor.shape)


def _other_numbers(own: torch.Tensor, given: Any) -> bool:
    """Whether integers stand where fractions belong, or the reverse: torch would cast quantised weights in silence."""
    return isinstance(given, torch.Tensor) and own.is_floating_point() != given.is_floating_point()


def _unlike(own: torch.Tensor, given: Any) -> bool:
    """Whether a tensor does not fit the one of the model."""
    if not isinstance(given, torch.Tensor):
        return True
    return _shape(own) not in {None, _shape(given)} or _other_numbers(own, given)


def _misfit(own: State, state: State, name: str, error: Exception | None = None) -> LoadError:
    """The error that lists what does not fit, with the prefix that would mend it."""
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    unlike = [key for key in own if key in state and _unlike(own[key], state[key])]
    details = [
        (f"{len(keys)} {label}", listed(keys))
        for label, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", [_difference(key, own[key], state[key]) for key in unlike]),
        )
        if keys
    ]
    if not details and error:
        details = [("torch says", display_name(str(error).replace("\n", " ")))]
    counts = f"{len(own) - len(missing) - len(unlike)} of {len(own)} tensors fit"
    return LoadError(
        "RS321",
        f"{name} was not loaded: its weights do not fit the architecture ({counts})",
        details=details,
        remedies=_prefix_remedy(own, state),
    )


def _difference(key: str, own: Any, given: Any) -> str:
    if not isinstance(given, torch.Tensor):
        return f"{key} (expected a tensor, got {type(given).__name__})"
    if own.shape == given.shape:
        return f"{key} (expected {own.dtype}, got {given.dtype})"
    return f"{key} (expected {list(own.shape)}, got {list(given.shape)})"


def _prefix_remedy(own: State, state: State) -> list[tuple[str, str]]:
    """The prefix whose removal makes every name and shape fit, tried out rather than guessed."""
    first = next(iter(own), None)
    if first is None:
        return [("Give an architecture with weights", "the one given has none")]
    outer = {key.removesuffix(first) for key in state if key.endswith(first)} - {""}
    for prefix in (*sorted(outer), *_WRAPPERS):
        stripped = strip(state, prefix)
        if stripped.keys() == own.keys() and not any(_unlike(own[key], stripped[key]) for key in own):
            return [("Every tensor fits without the prefix", f"add --strip-prefix {prefix}")]
    head = next(iter(state), "")
    for prefix in {key.removesuffix(head) for key in own if head and key.endswith(head)} - {""}:
        if {prefix + key for key in state} == own.keys():
            inner = prefix.rstrip(".")
            return [("The file holds the inner module", f"give a factory that returns model.{inner}")]
    for prefix in _WRAPPERS:
        if strip(own, prefix).keys() == state.keys() != own.keys():
            return [("The file was saved without the wrapper", f"give a factory that wraps nothing in {prefix[:-1]}")]
    return [("Give the architecture that they were saved from", "the same class, with the same sizes and options")]
