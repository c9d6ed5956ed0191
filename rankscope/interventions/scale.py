"""Scale: the output of a block times a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankscope.capture.flow import tensors
from rankscope.interventions._actions import at_output, replaced
from rankscope.interventions._factors import factors
from rankscope.interventions._registry import Numbers, intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rankscope.interventions._actions import AtModule
    from rankscope.interventions._registry import Number


@intervention(formula="Y(k)  ->  c Y(k)", neutral=1.0)
def scale(scene: Scene, *, c: Numbers) -> Iterator[AtModule]:
    """Multiply what a block gives by c: its whole stream, not only what it adds.

    c = 1 leaves the model as it is, bit for bit.

    Args:
        scene: the traced model, and the layers that are meant.
        c: one number for all blocks, or one a block.

    Yields:
        One action a block.
    """
    by_layer = factors(scene, "c", c)
    for place in scene.blocks:
        yield at_output(place, "block output", _times(by_layer[place.layer]))


def _times(number: Callable[[], Number]) -> Callable[[Any, Any, Any], Any]:
    def after(args: Any, kwargs: Any, output: Any) -> Any:
        del args, kwargs
        factor = number()
        if isinstance(factor, int | float) and factor == 1:
            return output
        return replaced(output, 0, next(tensors(output)) * factor)

    return after
