"""Planning: a model is traced on a little of a batch; the trace says where to hook it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from rankscope.capture.layout import Unmeasurable, axes
from rankscope.capture.session import call
from rankscope.capture.slicing import first_sequences, first_tokens
from rankscope.capture.trace import Trace, trace
from rankscope.errors import CaptureError

if TYPE_CHECKING:
    from torch import nn

    from rankscope.records import Batch

FEW_TOKENS = 31  # no size of a head or a window, so that no axis is taken for another


def traced(
    model: nn.Module, batch: Batch, layout: str | None = None, most_tokens: int | None = None
) -> tuple[Trace, Batch]:
    """Trace one sequence of the batch, or all of it where a module may count the sequences on its second axis.

    Args:
        model: the model, inside `undisturbed`.
        batch: where the model is.
        layout: the axes of the inputs, if the user gave them.
        most_tokens: of the sequence, where it can be shortened.

    Returns:
        The trace, and what was run for it.

    Raises:
        CaptureError: the model is TorchScript, or does not run while it is watched.
    """
    scripted = next((name for name, part in model.named_modules() if isinstance(part, torch.jit.ScriptModule)), None)
    if scripted is not None:
        raise CaptureError(
            "RS404",
            f"{scripted or type(model).__name__} is TorchScript: its parts run outside Python, where no hook is called",
            remedies=[("Give the class instead", "rankscope probe yourmodule:Net --weights FILE")],
        )
    with torch.no_grad():
        if all(getattr(module, "batch_first", True) for module in model.modules()):
            found = _trace_of_one(model, batch, layout, most_tokens)
            if found is not None:
                return found
        try:
            return trace(model, batch), batch
        except CaptureError as error:
            call(model, batch, suggest=True)  # where the model itself fails, its own error is the one to tell
            raise CaptureError("RS402", f"the model runs, but not while it is watched: {error.headline}") from error


def _trace_of_one(
    model: nn.Module, batch: Batch, layout: str | None, most_tokens: int | None
) -> tuple[Trace, Batch] | None:
    """A trace of the first sequence; None where the model may need the whole batch."""
    try:
        where = axes(batch, layout)
        if most_tokens is not None and (short := first_tokens(batch, most_tokens, where)) is not None:
            with contextlib.suppress(CaptureError):  # it may need the whole sequence
                one = first_sequences(short, 1, where)
                return trace(model, one), one
        one = first_sequences(batch, 1, where)
        return trace(model, one), one
    except (CaptureError, Unmeasurable):
        return None
