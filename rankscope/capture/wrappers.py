"""Wrappers: the modules of a model under the names their user knows.

torch.compile, DataParallel, DDP, FSDP and the checkpoint wrapper put a module of their own around the user's. It passes
on what it gets, so it is no layer, and its part of a name (``_orig_mod``, ``module``) is left out. Parametrizations are
called too, but with weights: they are no layers either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.utils.parametrize import ParametrizationList

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

WRAPPERS = {  # class name -> where it keeps the user's module
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "OffloadWrapper": "_checkpoint_wrapped_module",
}


DERIVED = ("torch.nn.utils.parametrize", "torch.distributed")  # make a class for one module


def inner(module: nn.Module) -> nn.Module:
    """The user's module inside torch's wrappers.

    Args:
        module: any module.

    Returns:
        The first module on the way in that is no wrapper of torch's.

    Example:
        >>> from torch import nn
        >>> type(inner(nn.DataParallel(nn.Linear(2, 2)))).__name__
        'Linear'
    """
    while (slot := _slot(module)) is not None:
        module = getattr(module, slot)
    return module


def class_name(module: nn.Module) -> str:
    """The name of the user's class, where torch wraps the module or derives a class of its own from it.

    Args:
        module: any module.

    Returns:
        The name, from a model file perhaps: not safe to print as it is.

    Example:
        >>> from torch import nn
        >>> class_name(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)))
        'Linear'
    """
    kinds = type(inner(module)).__mro__
    return next(kind.__name__ for kind in kinds if not kind.__module__.startswith(DERIVED))


def _slot(module: nn.Module) -> str | None:
    """Where a wrapper keeps the module that it wraps; None where this is no wrapper."""
    kinds = [kind for kind in type(module).__mro__ if kind.__module__.partition(".")[0] == "torch"]
    return next((WRAPPERS[kind.__name__] for kind in kinds if kind.__name__ in WRAPPERS), None)


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a model that act on activations, each once, under its name without wrappers.

    Args:
        model: any module.

    Yields:
        Name and module; the name of the model itself is empty.

    Example:
        >>> from torch import nn
        >>> [name for name, _ in named_modules(nn.DataParallel(nn.Sequential(nn.ReLU())))]
        ['', '0']
    """
    seen: set[nn.Module] = set()
    waiting = [("", model)]
    while waiting:
        name, module = waiting.pop()
        module = inner(module)
        if module in seen or isinstance(module, ParametrizationList):
            continue
        seen.add(module)
        yield name, module
        children = [(f"{name}.{part}".lstrip("."), child) for part, child in module.named_children()]
        waiting += reversed(children)


def named_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """The parameters of a module under their names without wrappers, each once.

    Args:
        module: any module.

    Yields:
        Name, parameter, and the module that owns it.

    Example:
        >>> from torch import nn
        >>> [name for name, _, _ in named_parameters(nn.DataParallel(nn.Linear(2, 2)))]
        ['weight', 'bias']
    """
    seen: set[int] = set()
    for name, owner in module.named_modules():
        for part, parameter in owner.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{_clean(module, name)}.{part}".lstrip("."), parameter, owner


def _clean(module: nn.Module, name: str) -> str:
    """A dotted name without the parts that wrappers put in."""
    kept = []
    for part in name.split(".") if name else ():
        if part != _slot(module):
            kept.append(part)
        module = getattr(module, part)
    return ".".join(kept)
