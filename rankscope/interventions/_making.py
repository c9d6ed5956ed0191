"""Making: edits turned into actions at the places of a traced model, and what is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.errors import CaptureError
from rankscope.interventions._actions import AtStart
from rankscope.interventions._scene import scene_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from rankscope.capture.places import Plan
    from rankscope.interventions._actions import Action
    from rankscope.interventions._registry import Edit
    from rankscope.interventions._scene import Choice, Scene
    from rankscope.records import Batch


@dataclass(frozen=True, slots=True)
class Made:
    """The actions of all edits, in order, and for each edit what it acts on, in words."""

    actions: tuple[Action, ...]
    told: tuple[str, ...]


def make(model: nn.Module, plan: Plan, batch: Batch, edits: Sequence[Edit], choice: Choice | None = None) -> Made:
    """Turn edits into actions.

    Args:
        model: the model.
        plan: what its trace found, of the stacks as they are.
        batch: what was traced.
        edits: in the order in which they are applied.
        choice: which sums count as residual adds.

    Returns:
        What is to be done.
    """
    scene = scene_of(model, plan, batch, choice)
    actions: list[Action] = []
    told: list[str] = []
    for edit in edits:
        narrowed = scene.narrowed(edit.where, str(edit))
        found = edit.actions(narrowed)
        if all(isinstance(action, AtStart) for action in found):
            error = _nothing(edit, narrowed)
            raise error
        actions += found
        told.append(f"{edit}: {_counted(found)}")
    return Made(tuple(actions), tuple(told))


def _counted(actions: Sequence[Action]) -> str:
    """What is acted on, such as "4 residual adds in 2 layers"."""
    acting = [action for action in actions if not isinstance(action, AtStart)]
    nouns = [action.what for action in acting if action.layer is not None]
    outside = [action.what for action in acting if action.layer is None]
    layers = len({(action.layer.stack, action.layer.index) for action in acting if action.layer is not None})
    if not layers:
        return _worded(outside)
    told = f"{_worded(nouns)} in {layers} layer{'s' if layers > 1 else ''}"
    if not outside:
        return told
    return (
        f"{told} and {len(outside) if {*outside} == {*nouns} and len({*nouns}) == 1 else _worded(outside)} outside them"
    )


def _worded(nouns: Sequence[str]) -> str:
    """Nouns counted."""
    counts = {noun: nouns.count(noun) for noun in nouns}
    many = {
        noun: noun.replace("part of a", "parts of a") if noun.startswith("part of") else f"{noun}s" for noun in nouns
    }
    return " and ".join(f"{count} {many[noun] if count > 1 else noun}" for noun, count in counts.items())


def _nothing(edit: Edit, scene: Scene) -> CaptureError:
    """The error for an edit that finds nothing, with what is known of the sums that were seen."""
    adds = [add for add in scene.plan.adds if add.layer in scene.layers]
    others = [add for add in scene.plan.adds if add.layer is None]
    seen = [f"{len(adds)} sums inside blocks, none of which reaches the output of its block"] if adds else []
    seen += [f"{len(others)} sums outside every block"] if others else []
    choose = ("Choose sums yourself", "rankscope.edit(model, …, choose=lambda add: add.status != 'outside')")
    return CaptureError(
        "RS450",
        f"edit {edit} finds nothing to act on in {len(scene.layers)} layers",
        details=[("seen", "; ".join(seen) or "no sum of a skip and its branch: a gate or a fused kernel may hold it")],
        remedies=[("Look at what was recognised", "rankscope inspect MODEL"), *([choose] if adds else [])],
    )
