"""No norm: every norm gives what it got."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankscope.capture.flow import tensors
from rankscope.capture.norms import norms
from rankscope.errors import CaptureError
from rankscope.interventions._actions import AtModule, replaced
from rankscope.interventions._registry import intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry
from rankscope.interventions._seen import meant, passes, seen
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankscope.interventions._actions import Action


@intervention(formula="norm(x)  ->  x", paper="λ-skip connections, arXiv 2410.10609")
def no_norm(scene: Scene) -> Iterator[Action]:
    """Leave every norm out, with its learned scale and shift: norm(x) becomes x.

    LayerNorm, RMSNorm, GroupNorm, BatchNorm and the like, also those of queries and keys, and without a selector those
    before the first and after the last block; as functions of torch, as modules, or written out. Of a norm with a gate
    in it the gate stays.

    Args:
        scene: the traced model, and the layers that are meant.

    Yields:
        One action a norm, and more for those that are written out.

    Raises:
        CaptureError: there is none, or one that cannot be taken out.
    """
    watched, blocks = seen(scene)
    found, unknown = norms(watched, blocks)
    chosen = [norm for norm in found if meant(scene, norm.layer)]
    inside = {op: blocks.get(block) if op.call and (block := op.call.inside(blocks)) else None for op in unknown}
    left = [op for op, layer in inside.items() if meant(scene, layer)]
    if left:
        where = dict.fromkeys(display_name(op.call.name) if op.call else "" for op in left)
        raise CaptureError(
            "RS462",
            f"{len(left)} norms of the model were not recognised well enough to take them out",
            details=[("in", ", ".join(name or "the model itself" for name in list(where)[:5]))],
            remedies=[("Leave their layers as they are", "name the others: no_norm@2..3")],
        )
    if not chosen:
        raise CaptureError("RS463", "these layers normalise nothing", details=[("norms elsewhere", str(len(found)))])
    for norm in chosen:
        if norm.module is not None:
            yield AtModule(norm.module.name, norm.module.index, norm.layer, "norm", after=_given)
        for number, (operation, operand) in enumerate(norm.operations):
            yield passes(watched, operation, operand, norm.layer, "part of a norm" if number else "norm")


def _given(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """What a module got, in the dtype of what it gives; a copy, since its output may be written into."""
    got, gives = next(tensors((args, kwargs))), next(tensors(output))
    return replaced(output, 0, got.to(gives.dtype, copy=True))
