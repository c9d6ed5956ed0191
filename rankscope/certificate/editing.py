"""Editing: the edits of a model that is certified, and which of its blocks they leave without an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.editing import made_of
from rankscope.interventions import AtCall, AtModule, as_edits, in_force

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from torch import nn

    from rankscope.capture.places import Place, Plan
    from rankscope.capture.trace import Trace
    from rankscope.interventions import Action
    from rankscope.records import Batch

OUTPUT = "an edit acts on what it gives, after its skip: that is not λY + F of one block"
MIXER = "an edit acts inside its mixer, whose mixing(x) is that of the model without edits"


@dataclass(frozen=True, slots=True)
class Edited:
    """The actions of all edits of a model, the plan that they are for, and what each edit acts on, in words."""

    model: nn.Module
    plan: Plan
    actions: tuple[Action, ...] = ()
    told: tuple[str, ...] = ()

    def force(self) -> AbstractContextManager[None]:
        """Carry them out inside; what is entered before sees what the model computes, what after what it was given."""
        return in_force(self.model, self.plan, self.actions, insist=False)

    def gives(self, place: Place) -> bool:
        """Whether an edit replaces what a block gives."""
        return any(
            isinstance(action, AtModule)
            and action.after is not None
            and (action.module_name, action.call) == (place.module_name, place.call)
            for action in self.actions
        )

    def within(self, name: str) -> bool:
        """Whether an edit acts inside a module, other than at a residual add."""
        adds = {(add.steps, add.hit, add.operation) for add in self.plan.adds if add.status == "residual"}
        places = [
            str(action.steps[0] if isinstance(action, AtCall) else action.module_name)
            for action in self.actions
            if isinstance(action, AtModule)
            or (isinstance(action, AtCall) and (action.steps, action.hit, action.operation) not in adds)
        ]
        return any(place == name or place.startswith(f"{name}." if name else "") for place in places)


def edited(
    model: nn.Module, traced: tuple[Trace, Batch], plan: Plan, edits: Sequence[Any], layers: Sequence[str]
) -> Edited:
    """Turn the edits of a model into actions.

    Args:
        model: the model, inside `undisturbed`.
        traced: its trace, and what was run for it.
        plan: what is certified, which stands for the edits where there are none.
        edits: in the order in which they are applied.
        layers: globs, tried where the stacks of blocks hold nothing to act on.

    Returns:
        What is to be done.

    Example:
        >>> import torch
        >>> from rankscope.capture.plan import plan
        >>> from rankscope.capture.planning import traced
        >>> from rankscope.capture.session import undisturbed
        >>> from rankscope.records import Batch
        >>> layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> model = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        >>> with undisturbed(model):
        ...     seen = traced(model, Batch((torch.randn(2, 8, 16),), {}))
        ...     edited(model, seen, plan(seen[0]), ["lambda_skip=2"], ()).told
        ('lambda_skip=2: 6 residual adds in 3 layers',)
    """
    if not edits:
        return Edited(model, plan)
    watched, batch = traced
    made, blocks = made_of(model, watched, batch, as_edits(edits), layers=layers)
    return Edited(model, blocks, made.actions, made.told)
