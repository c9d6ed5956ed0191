"""Whether what a file held is a plain model: no hooks, no replaced methods, no tensor larger than its bytes.

The restricted unpickler decides which classes may be built, not how they are filled. Everything here walks with a
stack of its own, since a file can nest deeper than Python recurses.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import torch
from torch import nn

from rankscope.errors import LoadError
from rankscope.formats import SAVE_WEIGHTS, size
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Views that repeat few numbers, such as an expanded mask, are honest in small; a file may add 64 MiB by them.
_EXPANDED = 2**26
# Takes the place of `forward` where it is set; torch leaves it out of what it saves.
_COMPILED = "_compiled_call_impl"
# Where torch and torch.nn keep functions that they call beside the forward.
_HOOKS = re.compile(r"_\w*hooks(_with_kwargs|_always_called)?")
_TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
# `nn.Module.train` and `apply` recurse over children, and walk a module once for each path that leads to it.
_NESTING = 200
_VISITS = 1_000_000


def check(content: object, name: str) -> None:
    """Refuse what no model saved by torch.save holds.

    Args:
        content: what the file held: a module, a state dict, or anything else.
        name: the file in the user's words.

    Raises:
        LoadError: hooks, replaced methods, hollow or oversized tensors, or modules nested without end.
    """
    expanded = 0
    for item in _reachable(content):
        _refuse_replaced(item, name)
        if isinstance(item, nn.Module):
            _check_module(item, name)
        elif isinstance(item, torch.Tensor):
            _refuse_hooks({key: getattr(item, key, None) for key in _TENSOR_HOOKS}, "tensor", name)
            expanded += _expanded(item)
    if expanded > _EXPANDED:
        what = f"its tensors would take {size(expanded)} more than the file holds"
        raise LoadError(
            "RS314",
            f"{name} was not loaded: {what}",
            details=[("why", "views that repeat few numbers")],
            remedies=[("Where it was made, save whole tensors", "torch.save({k: v.contiguous() for k, v in …})")],
        )
    if isinstance(content, nn.Module):
        _check_nesting(content, name)


def _reachable(content: object) -> Iterator[object]:
    """Everything that hangs on an object, each thing once."""
    seen: set[int] = set()
    stack = [content]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, dict):
            stack += [*dict.keys(item), *dict.values(item)]
        elif isinstance(item, list | tuple | set):
            stack += item
        stack += _own(item).values()
        stack += [getattr(item, field, None) for field in _fields(item)]


def _own(item: object) -> Mapping[str, object]:
    """The attributes that a file may have set on an object; the dicts of torch.save can have some too."""
    filled = isinstance(item, nn.Module | torch.Tensor | dict) or _fields(item)
    return getattr(item, "__dict__", {}) if filled else {}


def _fields(item: object) -> tuple[str, ...]:
    """The fields of an object of a dataclass."""
    if not dataclasses.is_dataclass(item) or isinstance(item, type):
        return ()
    return tuple(field.name for field in dataclasses.fields(item))


def _check_module(module: nn.Module, name: str) -> None:
    kind = type(module).__name__
    _refuse_hooks(vars(module), kind, name)
    for key, allowed in (("_parameters", nn.Parameter), ("_buffers", torch.Tensor), ("_modules", nn.Module)):
        held = vars(module).get(key)
        if not isinstance(held, dict) or not all(
            isinstance(part, str) and isinstance(value, allowed | None) for part, value in dict.items(held)
        ):
            raise LoadError(
                "RS315",
                f"{name} was not loaded: {kind}{key} does not hold what torch keeps there",
                remedies=[SAVE_WEIGHTS],
            )


def _refuse_replaced(item: object, name: str) -> None:
    """Refuse an object whose own attributes take the place of its methods."""
    kind = type(item)
    methods = (str(key) for key in _own(item) if _is_method(getattr(kind, str(key), None)) or key == _COMPILED)
    replaced = [key for key in methods if key not in _fields(item)]
    if replaced:
        what = f"it replaces {kind.__name__}.{display_name(replaced[0])}"
        raise LoadError("RS315", f"{name} was not loaded: {what}, which no saved model does", remedies=[SAVE_WEIGHTS])


def _is_method(value: object) -> bool:
    """Whether a class attribute is run by torch; one that holds a class is a default that an object may change."""
    return callable(value) and not isinstance(value, type)


def _refuse_hooks(attributes: Mapping[str, object], owner: str, name: str) -> None:
    for key in carried_hooks(attributes):
        raise LoadError(
            "RS315",
            f"{name} was not loaded: it carries hooks ({owner}.{display_name(key)})",
            details=[("why", "a hook changes what the layers give, so the numbers would not be the model's own")],
            remedies=[SAVE_WEIGHTS],
        )


def carried_hooks(attributes: Mapping[str, object]) -> list[str]:
    """The attributes of a module or tensor in which torch keeps hooks and that are not empty.

    Args:
        attributes: what `vars` gives.

    Returns:
        Their names.

    Example:
        >>> carried_hooks({"_forward_hooks": {}, "_backward_hooks": {0: len}, "hook_name": "x"})
        ['_backward_hooks']
    """
    held = [(str(key), value) for key, value in attributes.items() if value is not None]
    return [key for key, value in held if _HOOKS.fullmatch(key) and not (isinstance(value, dict) and not value)]


def _expanded(tensor: torch.Tensor) -> int:
    """How many bytes a tensor would take beyond those that are stored for it."""
    if tensor.layout is not torch.strided or tensor.is_meta:
        return 0
    return max(0, tensor.numel() * tensor.element_size() - tensor.untyped_storage().nbytes())


def _check_nesting(root: nn.Module, name: str) -> None:
    """Refuse cycles, depth beyond Python's recursion, and sharing that multiplies the walk."""
    height: dict[nn.Module, int] = {}
    visits: dict[nn.Module, int] = {}
    path = [(root, iter(set(root.children())))]
    while path and len(path) <= _NESTING:
        module, rest = path[-1]
        child = next(rest, None)
        if child is None:
            below = set(module.children())
            height[module] = 1 + max((height[part] for part in below), default=0)
            visits[module] = 1 + sum(visits[part] for part in below)
            path.pop()
        elif child not in height:
            path.append((child, iter(set(child.children()))))
    if path or height[root] > _NESTING or visits[root] > _VISITS:
        what = f"its modules contain each other more than {_NESTING} deep"
        raise LoadError("RS315", f"{name} was not loaded: {what}", remedies=[SAVE_WEIGHTS])
