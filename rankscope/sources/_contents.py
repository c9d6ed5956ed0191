"""Whether what a file held is a plain model: no hooks, no replaced methods, no tensor larger than its bytes.

The restricted unpickler decides which classes may be built, not how they are filled. Everything here walks with a
stack of its own, since a file can nest deeper than Python recurses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from rankscope.errors import LoadError
from rankscope.formats import size
from rankscope.records import display_name

# Views that repeat few numbers, such as an expanded mask, are honest in small; a file may add 64 MiB by them.
_EXPANDED = 2**26
# Takes the place of `forward` where it is set; torch leaves it out of what it saves.
_COMPILED = "_compiled_call_impl"
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
        if isinstance(item, nn.Module):
            _check_module(item, name)
        elif isinstance(item, torch.Tensor):
            _refuse_hooks({key: getattr(item, key, None) for key in _TENSOR_HOOKS}, "tensor", name)
            expanded += _expanded(item)
    if expanded > _EXPANDED:
        what = f"its tensors would take {size(expanded)} more than the file holds"
        raise LoadError("RS314", f"{name} was not loaded: {what}", details=[("why", "views that repeat few numbers")])
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
        if isinstance(item, Mapping):
            stack += item.values()
        elif isinstance(item, list | tuple | set):
            stack += item
        if isinstance(item, nn.Module | torch.Tensor):
            stack += vars(item).values()


def _check_module(module: nn.Module, name: str) -> None:
    kind = type(module).__name__
    _refuse_hooks(vars(module), kind, name)
    replaced = [key for key in vars(module) if callable(getattr(type(module), str(key), None)) or key == _COMPILED]
    if replaced:
        what = f"it replaces {kind}.{display_name(str(replaced[0]))}"
        raise LoadError("RS315", f"{name} was not loaded: {what}, which no saved model does")
    for key, allowed in (("_parameters", nn.Parameter), ("_buffers", torch.Tensor), ("_modules", nn.Module)):
        held = vars(module).get(key)
        if not isinstance(held, dict) or not all(
            isinstance(part, str) and isinstance(value, allowed | None) for part, value in held.items()
        ):
            raise LoadError("RS315", f"{name} was not loaded: {kind}{key} does not hold what torch keeps there")


def _refuse_hooks(attributes: Mapping[str, object], owner: str, name: str) -> None:
    for key, value in attributes.items():
        empty = value is None or isinstance(value, bool) or (isinstance(value, dict) and not value)
        if "hook" in str(key) and not empty:
            raise LoadError(
                "RS315",
                f"{name} was not loaded: it carries hooks ({owner}.{display_name(str(key))})",
                details=[("why", "a hook changes what the layers give, so the numbers would not be the model's own")],
                remedies=[("Save the weights alone", "torch.save(model.state_dict(), 'weights.pt')")],
            )


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
        raise LoadError("RS315", f"{name} was not loaded: its modules contain each other more than {_NESTING} deep")
