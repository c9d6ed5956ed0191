"""Scene: what an edit may act on: a traced model, narrowed to the layers that the edit is meant for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rankscope.errors import CaptureError
from rankscope.selectors import EVERY

if TYPE_CHECKING:
    from torch import nn

    from rankscope.capture.places import Add, Place, Plan, ValuePlace
    from rankscope.records import Batch, Layer
    from rankscope.selectors import Selector

Choice = Callable[["Add"], bool]


@dataclass(frozen=True, slots=True)
class Scene:
    """A traced model for one edit.

    `plan` is all that was found; `batch` what was traced, to be run again where an edit has to try something; `layers`
    are those that are meant, of all stacks, each from index 1 on; `choice` says which sums of the plan count as
    residual adds.
    """

    model: nn.Module
    plan: Plan
    batch: Batch
    layers: tuple[Layer, ...]
    where: Selector = EVERY
    choice: Choice | None = None

    @property
    def adds(self) -> tuple[Add, ...]:
        """The residual adds of the layers that are meant; with a choice of the caller's, the sums that it takes."""
        if self.choice is None:
            return tuple(add for add in self.plan.adds if add.status == "residual" and add.layer in self.layers)
        every = self.where == EVERY
        return tuple(
            add
            for add in self.plan.adds
            if self.choice(add) and (add.layer in self.layers or (every and not add.layer))
        )

    @property
    def blocks(self) -> tuple[Place, ...]:
        """The module calls whose outputs are the layers that are meant."""
        return tuple(place for place in self.plan.places if place.layer in self.layers and not place.entering)

    @property
    def values(self) -> dict[tuple[tuple[object, ...], int], ValuePlace]:
        """The places of values in the layers that are meant, as in `Plan.values`."""
        return {key: place for key, place in self.plan.values.items() if place.layer in self.layers}

    @property
    def stacks(self) -> dict[str, tuple[Layer, ...]]:
        """The layers that are meant, stack by stack."""
        found: dict[str, tuple[Layer, ...]] = {}
        for layer in self.layers:
            found[layer.stack] = (*found.get(layer.stack, ()), layer)
        return found

    def narrowed(self, where: Selector, text: str) -> Scene:
        """The scene of an edit.

        Args:
            where: the layers that it is meant for.
            text: the edit, for the error.

        Returns:
            The scene with these layers alone.

        Raises:
            CaptureError: no layer of any stack is meant.
        """
        meant: list[Layer] = []
        for layers in self.stacks.values():
            chosen = set(where.select((layer.index, layer.name) for layer in layers))
            meant += [layer for layer in layers if layer.index in chosen]
        if not meant:
            known = "; ".join(f"{stack}: 1..{layers[-1].index}" for stack, layers in self.stacks.items())
            raise CaptureError(
                "RS451",
                f"{text} finds no layer to act on: {where} is none of the model's",
                details=[("layers", known or "no block ran")],
                remedies=[("Look at the layers", "rankscope inspect MODEL")],
            )
        return replace(self, layers=tuple(meant), where=where)


def scene_of(model: nn.Module, plan: Plan, batch: Batch, choice: Choice | None = None) -> Scene:
    """The scene of a whole model.

    Args:
        model: the model.
        plan: what its trace found.
        batch: what was traced.
        choice: which sums count as residual adds; those of status residual where None.

    Returns:
        The scene.
    """
    layers = tuple(layer for layer in plan.layers if layer.index)
    return Scene(model, plan, batch, layers, EVERY, choice)
