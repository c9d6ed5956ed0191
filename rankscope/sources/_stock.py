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
        *("_codecs.encode", "builtins.bytearray", "builtins.complex", "builtins.set"),
        *("collections.Counter", "collections.OrderedDict"),
        *("torch.Size", "torch.device", "torch.serialization._get_layout", "torch._tensor._rebuild_from_type_v2"),
        *(
            f"torch._utils._rebuild_{what}"
            for what in (
                *("device_tensor_from_cpu_tensor", "device_tensor_from_numpy", "meta_tensor_no_storage"),
                *("nested_tensor", "parameter", "parameter_with_state", "qtensor", "sparse_tensor"),
                *("tensor", "tensor_v2", "tensor_v3", "wrapper_subclass"),
            )
        ),
    }
)
