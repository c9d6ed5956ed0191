"""Beginning: the first batch of a run; the model is traced on a little of it, edited where that is asked, measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rankscope.backward import Backward
from rankscope.capture.plan import plan
from rankscope.capture.planning import FEW_TOKENS, traced
from rankscope.editing import made_of
from rankscope.errors import CaptureError
from rankscope.interventions import as_edits, in_force
from rankscope.memory import Memory
from rankscope.records import Batch
from rankscope.reduction import Reduction
from rankscope.run import Run

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Sequence

    from torch import nn

    from rankscope.capture.trace import Trace
    from rankscope.measures import Request
    from rankscope.spectra.engine import Method

Loss = Callable[[Any, Batch], Tensor]
Progress = Callable[[str, int, int | None], None]
Outputs = Callable[[], Callable[[Any, Batch], None]]
Traces = dict["int | None", "tuple[Trace, Batch]"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is to measure, of which layers, under which edits, with how many bytes of memory.

    `traces` keeps the traces of the unedited model from one run to the next, where all have the same model and batch.
    """

    requests: tuple[Request, ...]
    method: Method
    memory: int
    layout: str | None = None
    layers: Sequence[str] = ()
    skip_layers: Sequence[str] = ()
    edits: tuple[Any, ...] = ()
    loss: str | Loss = "auto"
    grad_tokens: int = 1024
    progress: Progress | None = None
    outputs: Outputs | None = None
    traces: Traces | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that has measured its first batch, what gives its gradients, and what each edit acts on."""

    run: Run
    backward: Backward
    edits: tuple[str, ...] = ()


def begin(model: nn.Module, batch: Batch, wanted: Wanted, editing: contextlib.ExitStack) -> Begun:
    """Measure the first batch, and with it the gradients where one forward pass does for both.

    The trace is of a few tokens, to be quick; where the batch does not run as they did, of a whole sequence.

    Args:
        model: the model, inside `undisturbed`.
        batch: where the model is.
        wanted: what to measure.
        editing: keeps the edits in force, until it is closed.

    Returns:
        The run, for the batches that follow.

    Raises:
        CaptureError: the model cannot be traced, edited or run.
    """
    try:
        found = _begun(model, batch, wanted, editing, FEW_TOKENS)
    except CaptureError as error:
        if error.code != "RS452":
            raise
    else:
        if not found.run.strayed:
            return found
    return _begun(model, batch, wanted, editing, None)


def _begun(
    model: nn.Module, batch: Batch, wanted: Wanted, editing: contextlib.ExitStack, most_tokens: int | None
) -> Begun:
    """One attempt. A pass that fails for the sake of the gradients is repeated without them, from a clean slate."""
    editing.close()
    known = {} if wanted.traces is None else wanted.traces
    if most_tokens not in known:
        known[most_tokens] = traced(model, batch, wanted.layout, most_tokens)
    watched, few = known[most_tokens]
    chosen = plan(watched, wanted.layers, wanted.skip_layers)
    told: tuple[str, ...] = ()
    if wanted.edits:
        made, blocks = made_of(model, watched, few, as_edits(wanted.edits), layers=wanted.layers)
        editing.enter_context(in_force(model, blocks, made.actions, insist=False))
        told = made.told

    def fresh() -> tuple[Run, Backward]:
        reduction = Reduction(wanted.requests, wanted.method, Memory(wanted.memory))
        outputs = wanted.outputs and wanted.outputs()
        run = Run(model, chosen, reduction, wanted.layout, watched.declared, wanted.progress, outputs)
        return run, Backward(run, wanted.loss, wanted.grad_tokens, wanted.progress)

    run, backward = fresh()
    if not backward.together(batch):
        run, backward = fresh()
        run.batch(batch)
    return Begun(run, backward, told)
