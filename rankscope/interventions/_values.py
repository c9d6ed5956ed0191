"""Values of the first layer, kept while a forward pass runs, for the edits that mix them into those of later layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from rankscope.capture.flow import tensors
from rankscope.errors import CaptureError
from rankscope.interventions._actions import AtCall, AtModule, AtStart, replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from rankscope.capture.flow import Steps
    from rankscope.capture.places import ValuePlace
    from rankscope.interventions._actions import Action, TorchCall
    from rankscope.interventions._scene import Scene
    from rankscope.records import Layer

    Key = tuple[Steps, int]
    Mix = Callable[[Tensor, Tensor], Tensor | None]
    """V_1 and V_n go in, what attention gets in place of V_n comes out; None leaves it."""

NOT_VALUES = "a state-space model has no attention whose values could be mixed"


@dataclass(slots=True)
class First:
    """V_1 of a stack, the layer that it is of, and whether it was made with gradients."""

    layer: Layer
    held: list[Tensor] = field(default_factory=list)
    tracked: bool = True

    def keep(self, value: Tensor) -> None:
        """Keep V_1 of this forward pass; a part that is run again gives the same one."""
        if torch._C._current_graph_task_id() == -1:
            self.held[:], self.tracked = [value], torch.is_grad_enabled()

    def fitting(self, own: Tensor, layer: Layer) -> Tensor:
        """V_1, if it can be mixed with the values of a layer."""
        if not self.held:
            raise CaptureError("RS465", f"the values of {self.layer.name} did not run before those of {layer.name}")
        first = self.held[0]
        if first.shape != own.shape:
            raise CaptureError(
                "RS465",
                f"the values of {layer.name} cannot be mixed with those of {self.layer.name}",
                details=[("shapes", f"{list(own.shape)} and {list(first.shape)}")],
                remedies=[("Mix layers of one kind", "name them, such as value_residual=0.5,0.5@2..3")],
            )
        if torch._C._current_graph_task_id() != -1 and own.requires_grad and not self.tracked:
            raise CaptureError(
                "RS466",
                "reentrant activation checkpointing cuts the gradient of the first layer's values",
                remedies=[("Checkpoint without it", "torch.utils.checkpoint.checkpoint(…, use_reentrant=False)")],
            )
        return first


def later(scene: Scene, *, calls_only: bool = False) -> Iterator[tuple[Key, ValuePlace, First]]:
    """The values that are meant, from the second layer of each stack on, with the first layer's.

    Values of attention calls, and those that a projection gives, are kinds of their own: only values of one kind are
    mixed with each other.

    Args:
        scene: the model, narrowed.
        calls_only: leave those out that a projection gives.

    Yields:
        Key and place as in `Plan.values`, and the values of the first layer of that stack and kind.

    Raises:
        error: there are none.
    """
    stacks: dict[tuple[str, bool], First] = {}
    found = False
    for key, place in sorted(scene.plan.values.items(), key=lambda item: item[1].layer.index):
        called = key in scene.plan.attention
        if not called and (calls_only or not _projected(scene, key)):
            continue
        first = stacks.setdefault((place.layer.stack, called), First(place.layer))
        if first.layer != place.layer and place.layer in scene.layers:
            found = True
            yield key, place, first
    if not found:
        error = _none(scene)
        raise error


def _projected(scene: Scene, key: Key) -> bool:
    """Whether a projection gives these values; what enters a state-space model is not given to any attention."""
    return any(((place.module_name,), place.call) == key and not place.entering for place in scene.plan.value_modules)


def _none(scene: Scene) -> CaptureError:
    reasons = [why for (stack, index), why in scene.plan.no_values.items() if _has(scene, stack, index)]
    known = [place for place in scene.plan.values.values() if place.layer in scene.layers]
    reasons += [NOT_VALUES for place in known if place.how.startswith(("input of", "skip of"))]
    if not reasons:
        reasons = ["the first layer is the one whose values the others get; only later ones are changed"]
    return CaptureError(
        "RS467",
        "no layer that is meant has values into which those of the first layer could be mixed",
        details=[("because", "; ".join(list(dict.fromkeys(reasons))[:3]))],
        remedies=[("See where values are", "rankscope inspect MODEL")],
    )


def _has(scene: Scene, stack: str, index: int) -> bool:
    return any(layer.stack == stack and layer.index == index for layer in scene.layers)


def mixing(scene: Scene, mix: Mix) -> Iterator[Action]:
    """Attention gets a mix of V_1 and V_n from the second layer on.

    Args:
        scene: the model, narrowed.
        mix: the mix.

    Yields:
        Actions.
    """
    firsts: dict[int, First] = {}
    for key, place, first in later(scene):
        if id(first) not in firsts:
            firsts[id(first)] = first
            yield AtStart(first.held.clear)
            yield keeping(scene, first, called=key in scene.plan.attention)
        yield _mixed(scene, key, place, first, mix)


def keeping(scene: Scene, first: First, *, called: bool) -> Action:
    """Keep the values of a first layer as they come.

    Args:
        scene: the model.
        first: where they are kept.
        called: whether an attention call has them, else a projection gives them.

    Returns:
        The action.
    """
    key, place = next(
        (key, place)
        for key, place in scene.plan.values.items()
        if place.layer == first.layer and (key in scene.plan.attention) == called
    )
    if called:

        def before(call: TorchCall) -> None:
            first.keep(call.tensor(place.operand))

        return AtCall(*key, place.operation, place.layer, "first value", before=before)

    def after(args: Any, kwargs: Any, output: Any) -> Any:
        del args, kwargs
        first.keep(next(tensors(output)))
        return output

    return AtModule(str(key[0][0]), key[1], place.layer, "first value", after=after)


def _mixed(scene: Scene, key: Key, place: ValuePlace, first: First, mix: Mix) -> Action:
    told = scene.plan.mixed

    if key in scene.plan.attention:

        def before(call: TorchCall) -> None:
            own = call.tensor(place.operand)
            if (new := mix(first.fitting(own, place.layer), own)) is not None:
                told[own] = new.detach()
                call.put(place.operand, new)

        return AtCall(*key, place.operation, place.layer, "mixed value", before=before)

    def after(args: Any, kwargs: Any, output: Any) -> Any:
        del args, kwargs
        own = next(tensors(output))
        if (new := mix(first.fitting(own, place.layer), own)) is None:
            return output
        new = new.clone() if new is first.held[0] else new
        told[new] = own.detach()
        return replaced(output, 0, new)

    return AtModule(str(key[0][0]), key[1], place.layer, "mixed value", after=after)
