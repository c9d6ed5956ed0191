"""Drop: a block gives what it got."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankscope.capture.flow import tensors
from rankscope.errors import CaptureError
from rankscope.interventions._actions import AtModule, replaced
from rankscope.interventions._registry import intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from rankscope.capture.places import Place


@intervention(formula="Y(k)  ->  Y(k−1)")
def drop(scene: Scene) -> Iterator[AtModule]:
    """Leave a block out: it gives the stream that it got; what else it returns stays.

    Use it with a selector, as ``drop@3``: without one no block is left.

    Args:
        scene: the traced model, and the layers that are meant.

    Yields:
        One action a block.
    """
    streams = {place.layer.stack: place.stream for place in scene.plan.places if place.entering}
    for place in scene.blocks:
        yield _dropped(place, streams.get(place.layer.stack, 0))


def _dropped(place: Place, stream: int) -> AtModule:
    got: list[Tensor] = []

    def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = list(tensors((args, kwargs)))
        if len(given) <= stream:
            raise _cannot(place, "it gets no stream", [("gets", "no tensor of numbers with a fraction, such as ids")])
        got[:] = [given[stream].clone()]  # the block may write into it
        return args, kwargs

    def after(args: Any, kwargs: Any, output: Any) -> Any:
        del args, kwargs
        kept, gives = got.pop(), next(tensors(output))
        if kept.shape != gives.shape:
            shapes = [("gets", str(list(kept.shape))), ("gives", str(list(gives.shape)))]
            raise _cannot(place, "it changes the shape of its stream", shapes)
        return replaced(output, 0, kept.to(gives.dtype))

    return AtModule(place.module_name, place.call, place.layer, "block", before=before, after=after)


def _cannot(place: Place, why: str, details: list[tuple[str, str]]) -> CaptureError:
    return CaptureError(
        "RS464",
        f"{place.layer.name} cannot be dropped: {why}",
        details=details,
        remedies=[("Drop a block that keeps its stream", "drop@LAYER; `rankscope inspect MODEL` lists the layers")],
    )
