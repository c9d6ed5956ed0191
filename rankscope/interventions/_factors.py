"""Factors: one number for all blocks, or one a block, as edits take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from rankscope.errors import UsageError

if TYPE_CHECKING:
    from rankscope.interventions._registry import Number, Numbers
    from rankscope.interventions._scene import Scene
    from rankscope.records import Layer


def factors(scene: Scene, name: str, given: Numbers) -> dict[Layer | None, Number]:
    """The number of each layer that is meant; the key None is that of sums outside every block.

    Args:
        scene: the layers.
        name: of the argument, for the error.
        given: one number, or as many as each stack has layers that are meant; a tensor may be either.

    Returns:
        A number, or an element of the tensor, by layer.

    Raises:
        UsageError: there are neither one nor as many as layers.
    """
    if isinstance(given, Tensor):
        if given.numel() == 1:
            return dict.fromkeys((*scene.layers, None), given if given.ndim == 0 else given.reshape(()))
        several: Sequence[Number] = list(given) if given.ndim == 1 else ()
    else:
        several = [float(value) for value in given] if isinstance(given, Sequence) else [float(given)]
        if len(several) == 1:
            return dict.fromkeys((*scene.layers, None), several[0])
    found: dict[Layer | None, Number] = {}
    for stack, layers in scene.stacks.items():
        if len(several) != len(layers):
            count = f"{len(several)} values" if several else f"a tensor of shape {list(getattr(given, 'shape', ()))}"
            raise UsageError(
                "RS132",
                f"{name} has {count}, expected 1, or one for each of the {len(layers)} layers meant in {stack}",
            )
        found.update(zip(layers, several, strict=True))
    return found
