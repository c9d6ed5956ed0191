"""What a pickled model may be made of without a flag: the classes and activation functions of torch itself."""

from __future__ import annotations

import functools
import importlib
import pickle
import pickletools
import pkgutil
from typing import Any

from torch import nn

# The functions that stock modules keep as an attribute, such as TransformerEncoderLayer.activation.
_ACTIVATIONS = (
    *("celu", "elu", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log_softmax", "logsigmoid"),
    *("mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softmin", "softplus", "softshrink", "softsign"),
    *("tanh", "tanhshrink"),
)


@functools.cache
def stock() -> dict[str, Any]:
    """The classes of torch.nn.modules and the activation functions of torch.nn.functional.

    Returns:
        The name that a pickle uses, mapped to the class or function.

    Example:
        >>> stock()["torch.nn.modules.linear.Linear"]
        <class 'torch.nn.modules.linear.Linear'>
    """
    found: dict[str, Any] = {}
    for info in pkgutil.iter_modules(nn.modules.__path__):
        module = importlib.import_module(f"torch.nn.modules.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__:
                found[f"{value.__module__}.{value.__qualname__}"] = value
    for name in _ACTIVATIONS:
        function = getattr(nn.functional, name)
        found[_pickled_name(function)] = function
    return found


def _pickled_name(function: Any) -> str:
    """How a pickle names a function, which for builtins is not where they were taken from."""
    operations = pickletools.genops(pickle.dumps(function, protocol=2))
    return next(str(arg).replace(" ", ".") for op, arg, _ in operations if op.name == "GLOBAL")


# The calls that torch.save writes for tensors, parameters and the containers of a module. A pickled module is built by
# `cls.__new__` and filled; a file that calls a class itself, such as Linear(10**6, 10**6), wants to do harm.
CALLS = frozenset(
    {
        "__builtin__.set",
        "_codecs.encode",
        "builtins.set",
        "collections.Counter",
        "collections.OrderedDict",
        "torch.Size",
        "torch.device",
        "torch.serialization._get_layout",
        *(
            f"torch._utils._rebuild_{what}"
            for what in ("meta_tensor_no_storage", "parameter", "parameter_with_state", "qtensor", "sparse_tensor")
        ),
        *(f"torch._utils._rebuild_{what}" for what in ("tensor", "tensor_v2", "tensor_v3")),
    }
)


def called(data: bytes) -> set[str]:
    """The names that a pickle calls, found by following its stack; nothing is imported or run.

    Args:
        data: the pickle.

    Returns:
        Dotted names; ``"?"`` stands for something other than a plain name.

    Example:
        >>> called(pickle.dumps({1, 2}, protocol=2))
        {'__builtin__.set'}
    """
    mark = object()
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    names: set[str] = set()
    for op, arg, _ in pickletools.genops(data):
        if op.name == "GLOBAL":
            stack.append(str(arg).replace(" ", "."))
        elif op.name in {"BINGET", "LONG_BINGET"}:
            stack.append(memo[arg])
        elif op.name in {"BINPUT", "LONG_BINPUT"}:
            memo[arg] = stack[-1]
        elif op.name == "MARK":
            stack.append(mark)
        elif op.name == "REDUCE":
            del stack[-1]
            names.add(stack[-1] if isinstance(stack[-1], str) else "?")
            stack[-1] = None
        else:
            _step(op, stack, mark)
    return names


def _step(op: pickletools.OpcodeInfo, stack: list[Any], mark: object) -> None:
    """Any other operation: take what it takes, and leave nameless what it leaves."""
    takes = list(op.stack_before)
    if pickletools.markobject in takes:
        while stack.pop() is not mark:
            pass
        takes = takes[: takes.index(pickletools.markobject)]
    if takes:
        del stack[-len(takes) :]
    stack += [None] * len(op.stack_after)
