"""Edited: the model with an edit in force, the trace that an edit begins with, and both together as a user has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

import rankscope
from rankscope.capture import trace as tracing
from rankscope.capture.planning import FEW_TOKENS, traced
from rankscope.capture.session import undisturbed
from rankscope.editing import made_of
from rankscope.interventions import as_edits, in_force
from rankscope.records import Batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.setting import Job
    from rankscope.interventions import Action

_made: WeakKeyDictionary[Job, dict[str, tuple[Any, tuple[Action, ...]]]] = WeakKeyDictionary()


def with_edit(text: str) -> Callable[[Job], None]:
    """Forward passes with an edit in force.

    The model is traced and the edit made at the first call for a job, which is one round of several: the median over
    the rounds is of the forward passes alone.
    """

    def run(job: Job) -> None:
        known = _made.setdefault(job, {})
        if text not in known:
            known[text] = _make(job, text)
        found, actions = known[text]
        with in_force(job.model, found, actions):
            job.forward()

    return run


def _make(job: Job, text: str) -> tuple[Any, tuple[Action, ...]]:
    batch = Batch((job.batches[0],))
    with undisturbed(job.model):
        watched, small = traced(job.model, batch, None, FEW_TOKENS)
        made, found = made_of(job.model, watched, small, as_edits(text))
    return found, made.actions


def trace(job: Job) -> None:
    """One forward pass of each batch that is watched operation by operation, as a plan needs it once."""
    with undisturbed(job.model), torch.no_grad():
        for ids in job.batches:
            tracing.trace(job.model, Batch((ids,)))


def whole(text: str) -> Callable[[Job], None]:
    """`rankscope.edit` as a user types it: trace of a few tokens, plan, and the forward passes inside."""

    def run(job: Job) -> None:
        with rankscope.edit(job.model, text, job.batches[0]):
            job.forward()

    return run


CONTENDERS: dict[str, Callable[[Job], Any]] = {
    "λ = 1": with_edit("lambda_skip=1"),
    "λ = 0.5": with_edit("lambda_skip=0.5"),
    "trace": trace,
    "edit": whole("lambda_skip=0.5"),
}
