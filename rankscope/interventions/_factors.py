"""Factors: one number for all blocks, or one a block, as edits take them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from rankscope.errors import UsageError

if TYPE_CHECKING:
    from rankscope.interventions._registry import Number, Numbers
    from rankscope.interventions._scene import Scene
    from rankscope.records import Layer


def factors(scene: Scene, name: str, given: Numbers) -> dict[Layer | None, Callable[[], Number]]:
    """What gives the number of each layer that is meant, as it is at that time; None stands for no layer at all.

    A tensor that is trained changes between two forward passes, so its elements are taken when they are used.

    Args:
        scene: the layers.
        name: of the argument, for the error.
        given: one number, or as many as each stack has layers that are meant; a tensor may be either.

    Returns:
        By layer what to call for a number, or for an element of the tensor.

    Raises:
        UsageError: there are neither one nor as many as layers.
    """
    if isinstance(given, Tensor):
        size, count = given.numel() if given.ndim < 2 else 0, f"a tensor of shape {list(given.shape)}"
    else:
        size = len(given) if isinstance(given, Sequence) else 1
        count = f"{size} values"
    if size == 1:
        return dict.fromkeys((*scene.layers, None), functools.partial(_element, given, 0))
    found: dict[Layer | None, Callable[[], Number]] = {}
    for stack, layers in scene.stacks.items():
        if size != len(layers):
            raise UsageError(
                "RS132",
                f"{name} has {count}, expected 1, or one for each of the {len(layers)} layers meant in {stack}",
            )
        found.update({layer: functools.partial(_element, given, i) for i, layer in enumerate(layers)})
    return found


def _element(given: Numbers, index: int) -> Number:
    """One of several numbers; a single one is itself."""
    if isinstance(given, Tensor):
        return given[index] if given.ndim else given
    return float(given[index]) if isinstance(given, Sequence) else float(given)
