"""Learned: what a block says of its own λ and value mixes, learned or set, for audit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from rankscope.records import display_name

if TYPE_CHECKING:
    from torch import nn

_MOST = 64  # numbers of one block; a factor for every feature is no λ to read


def lambdas(block: nn.Module) -> dict[str, float]:
    """The numbers that a block, or a module in it, gives by a method ``lambdas() -> dict[str, Tensor]``.

    Args:
        block: any module; one without such a method has none.

    Returns:
        Name to number. A tensor of several numbers has an entry for each, ``name[0]`` and on; names of which a block
        has several begin with that of their module.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Identity()
        >>> net.lambdas = lambda: {"lambda": torch.tensor(2.0), "mix": torch.tensor([0.5, 0.5])}
        >>> lambdas(net)
        {'lambda': 2.0, 'mix[0]': 0.5, 'mix[1]': 0.5}
    """
    found: dict[str, float] = {}
    outer: list[str] = []
    for name, module in block.named_modules():
        offer = getattr(module, "lambdas", None)
        if not callable(offer) or any(not other or name.startswith(f"{other}.") for other in outer):
            continue
        outer.append(name)
        for key, value in _read(offer).items():
            found[key if key not in found else f"{display_name(name)}.{key}"] = value
    return found if len(found) <= _MOST else {}


def _read(offer: object) -> dict[str, float]:
    """What one method gives, as far as it is finite numbers by name; the user's own code may do anything."""
    try:
        given = offer() if callable(offer) else {}
        pairs = [(display_name(str(key)), _numbers(value)) for key, value in given.items()]
    except Exception:  # a method of this name that means something else is none of ours
        return {}
    return {
        key if len(numbers) == 1 else f"{key}[{i}]": number
        for key, numbers in pairs
        for i, number in enumerate(numbers)
        if math.isfinite(number)
    }


def _numbers(value: object) -> list[float]:
    if isinstance(value, Tensor):
        return [float(number) for number in value.detach().double().flatten().tolist()]
    return [float(value)] if isinstance(value, int | float) else []
