"""Editing: a model with edits in force, on the live module or while it is measured."""

from __future__ import annotations

import contextlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from torch import nn

from rankscope.capture.plan import plan
from rankscope.capture.planning import FEW_TOKENS, traced
from rankscope.capture.session import undisturbed
from rankscope.edits import known_edits
from rankscope.errors import CaptureError, UsageError
from rankscope.inputs import InputOptions, from_python, gather
from rankscope.inputs.unchanged import eager
from rankscope.interventions import EDITS, as_edits, in_force, make
from rankscope.placing import placed, to_model
from rankscope.registry import unknown_name
from rankscope.sources import open_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rankscope.capture.trace import Trace
    from rankscope.interventions import Choice, Edit, Made
    from rankscope.records import Batch

_KNOWN = {field.name for field in fields(InputOptions)}


@contextlib.contextmanager
def edit(
    model: Any,
    edits: str | Edit | Iterable[Edit | str],
    inputs: Any = None,
    *,
    choose: Choice | None = None,
    layers: Sequence[str] = (),
    **options: Any,
) -> Iterator[tuple[str, ...]]:
    """Run a live model with edits in force; the twin of ``MODEL+EDIT`` on the command line.

    One forward pass of the unedited model shows where its residual adds and its attention are; then every forward and
    backward pass inside the context runs edited. Its code, its parameters and its state dict stay as they are. Call
    ``backward()`` inside: activation checkpointing runs the model again there. Of nested contexts the inner one acts
    first. Each context is for the thread that opened it.

    Args:
        model: a module.
        edits: such as ``"lambda_skip=1.5@6..8+no_norm"``, or edits with tensors that may be trained, such as
            ``lambda_skip(lam=parameter)`` of ``from rankscope.editing import lambda_skip``, one or several; they act in
            the order in which they are written.
        inputs: what the model runs on, as `rankscope.probe` takes them; inferred where None. A few tokens are used, and
            what is found on them serves batches of any size.
        choose: says of each sum of the plan whether it counts as a residual add, in place of its status.
        layers: globs over names of modules that count as layers, where the model's own stacks hold nothing to act on.
        **options: where inputs come from: fields of `InputOptions`, such as ``random="x=8x128x64"``.

    Yields:
        For each edit what it acts on, such as ``"lambda_skip=2: 6 residual adds in 3 layers"``.

    Raises:
        UsageError: an option is unknown, or the model is no module.
        CaptureError: DataParallel would run the model in threads that no edit reaches; or the context ended, without an
            exception of its own, and the model had not run inside it.

    Example:
        >>> import torch
        >>> layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> model, x = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval(), torch.randn(2, 8, 16)
        >>> with edit(model, "lambda_skip=2@2..3", x) as told:
        ...     y = model(x)
        >>> told, torch.equal(y, model(x))
        (('lambda_skip=2@2..3: 4 residual adds in 2 layers',), False)
    """
    for name in options:
        if name not in _KNOWN:
            error = unknown_name("option", name, sorted(_KNOWN))
            raise error
    if not isinstance(model, nn.Module):
        wrong = f"edit takes a live module, not {type(model).__name__}"
        raise UsageError("RS130", wrong, remedies=[("Of a file", "rankscope.probe('model.pt+no_skip')")])
    wanted = as_edits(edits)
    spread = [part for part in model.modules() if isinstance(part, nn.DataParallel) and len(part.device_ids) > 1]
    if spread:
        raise CaptureError(
            "RS455",
            "DataParallel runs copies of the model in threads of their own, which no edit reaches",
            remedies=[
                ("Edit the module inside", "model.module"),
                ("Or spread it otherwise", "DistributedDataParallel"),
            ],
        )
    if isinstance(options.get("random"), str):
        options["random"] = (options["random"],)
    gathering, source = InputOptions(**options), open_model(model)
    given = gather(source, gathering) if inputs is None else from_python(source, inputs, gathering)
    _, device, dtype = placed(source, "auto", None)
    batch = to_model(next(iter(given.batches)), device, dtype)
    with undisturbed(model):
        watched, small = traced(model, batch, given.layout, FEW_TOKENS)
        made, chosen = made_of(model, watched, small, wanted, layers=layers, choose=choose)
    with eager(), in_force(model, chosen, made.actions):
        yield made.told


def __getattr__(name: str) -> Any:
    """The edits as functions: ``from rankscope.editing import lambda_skip``."""
    if name in known_edits():
        return EDITS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextlib.contextmanager
def in_force_of(
    edits: Sequence[str], model: nn.Module, batch: Batch, layout: str | None = None, layers: Sequence[str] = ()
) -> Iterator[None]:
    """Edits as typed, in force on a model that runs one batch; traced on that very batch.

    Args:
        edits: each as typed; none leaves the model as it is.
        model: the model, inside `undisturbed`.
        batch: where the model is.
        layout: the axes of the inputs, if the user gave them.
        layers: globs, as `made_of` takes them.

    Yields:
        Nothing.
    """
    if not edits:
        yield
        return
    watched, ready = traced(model, batch, layout)
    made, blocks = made_of(model, watched, ready, as_edits(edits), layers=layers)
    with eager(), in_force(model, blocks, made.actions, insist=False):
        yield


def made_of(
    model: nn.Module,
    watched: Trace,
    batch: Batch,
    edits: Sequence[Edit],
    *,
    layers: Sequence[str] = (),
    choose: Choice | None = None,
) -> tuple[Made, Any]:
    """Turn edits into actions, at places of a trace.

    Args:
        model: the model, inside `undisturbed`.
        watched: its trace.
        batch: what was traced.
        edits: in the order in which they are applied.
        layers: globs, tried where the stacks of blocks hold nothing to act on.
        choose: which sums count as residual adds.

    Returns:
        What is to be done, and the plan that it is for.

    Raises:
        CaptureError: an edit finds nothing to act on.
    """
    blocks = plan(watched)
    try:
        return make(model, blocks, batch, edits, choose), blocks
    except CaptureError as error:
        if not layers or error.code not in {"RS450", "RS451"}:
            raise
    named = plan(watched, layers)
    return make(model, named, batch, edits, choose), named
