"""The certificate beside the answer of a search: what the λ-skip theory guarantees for the edited model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rankscope.certificate import RETAIN
from rankscope.certificate.overall import worst_status
from rankscope.certificate.run import certified as certificate_of
from rankscope.errors import RankscopeError
from rankscope.sweeps.words import CERTIFICATES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rankscope.certificate import Measured, Sequence, Stack, Theorem
    from rankscope.pipeline import MeasureOptions
    from rankscope.records import Inputs, Source


def certified(source: Source, inputs: Inputs, options: MeasureOptions) -> Mapping[str, Any]:
    """What is guaranteed for an edited model, of the stack with the most blocks.

    Args:
        source: the model with its edits.
        inputs: those of the sweep.
        options: of the sweep; `layers`, `skip_layers`, `device` and `dtype` are used.

    Returns:
        Plain data, as the schema of sweeps has it under ``certified``; where nothing is certified, `reason` says why.
    """
    try:
        found = certificate_of(source, inputs, options, RETAIN)
    except RankscopeError as error:
        return {**_about(None), "reason": f"{error.headline} [{error.code}]"}
    return _about(max(found.stacks, key=lambda stack: len(stack.blocks)))


def _about(stack: Stack | None) -> dict[str, Any]:
    """The numbers of the worst sequence; a certificate holds where it does for every sequence."""
    worst = None if stack is None else stack.worst
    last = None if worst is None else worst.steps[-1]
    return {
        "retain": RETAIN,
        "stack": None if stack is None else stack.stack,
        "layers": None if stack is None else len(stack.blocks),
        "sequence": None if worst is None else worst.sequence,
        "sequences": None if stack is None else len(stack.sequences),
        "mu": None if last is None else last.mu,
        "mu_bar": None if last is None else last.mu_bar,
        **{name: None if stack is None else _one(stack, name) for name in CERTIFICATES},
        "reason": None,
    }


def _one(stack: Stack, name: str) -> dict[str, Any]:
    """One of the three certificates."""
    every: list[Theorem | Measured] = [getattr(each, name) for each in stack.sequences]
    status = worst_status(each.status for each in every)
    bound = _bound(stack.worst, name)
    last = stack.worst.steps[-1]
    least = [each.smallest_lambda for each in every]
    return {
        "status": status,
        "reason": next(each.reason for each in every if each.status == status),
        "mu": bound,
        "mu_bar": bound * last.mu_bar / last.mu if bound is not None and last.mu and last.mu_bar else None,
        "smallest_lambda": None if None in least else max(value for value in least if value is not None),
    }


def _bound(worst: Sequence, name: str) -> float | None:
    """The bound on mu at the last layer; None where it says nothing."""
    if name == "theorem":
        holds = worst.theorem.status == "holds" and worst.mu_first is not None
        return RETAIN ** len(worst.steps) * (worst.mu_first or 0.0) if holds else None
    found: Measured = getattr(worst, name)
    bound = found.bound
    return bound if bound is not None and bound > 0 and math.isfinite(bound) else None
