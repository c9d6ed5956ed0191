"""Run: from a model and its inputs to a certificate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from rankscope._version import __version__
from rankscope.capture.learned import lambdas
from rankscope.capture.plan import plan
from rankscope.capture.planning import traced
from rankscope.capture.session import undisturbed
from rankscope.certificate.certifying import Certifying
from rankscope.certificate.editing import edited
from rankscope.certificate.overall import sequence, worst_first
from rankscope.certificate.records import Block, Certificate, Stack
from rankscope.certificate.steps import FEW, MIN_TOKENS
from rankscope.certificate.words import sentence
from rankscope.errors import CaptureError, InputError
from rankscope.inputs import Fingerprint
from rankscope.measures import resolve
from rankscope.pipeline import model_facts
from rankscope.placing import placed, to_model
from rankscope.plain import now
from rankscope.records import Note
from rankscope.reduction import Reduction
from rankscope.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rankscope.capture.places import Plan
    from rankscope.pipeline import MeasureOptions
    from rankscope.records import Inputs, Source

    Progress = Callable[[str, int, int | None], None]


EXPLODED = 1e6  # times mu(Y(0)): no trained stack and no start of one grows so


def certified(
    source: Source, inputs: Inputs, options: MeasureOptions, retain: float, progress: Progress | None = None
) -> Certificate:
    """Certify a model on inputs, with its edits in force.

    Args:
        source: the model.
        inputs: its inputs.
        options: `layers`, `skip_layers`, `device` and `dtype` are used.
        retain: √a, the fraction of mu that each layer is to keep.
        progress: called per batch with a stage, how much of it is done, and of how much.

    Returns:
        The certificate.

    Raises:
        InputError: the inputs hold no batch.
        nothing: a CaptureError, no number could be had.
    """
    model, device, dtype = placed(source, options.device, options.dtype)
    fingerprint, found = Fingerprint(), None
    with undisturbed(model):
        for number, given in enumerate(inputs.batches):
            fingerprint.update(given)
            batch = to_model(given, device, dtype)
            if found is None:
                seen = traced(model, batch, inputs.layout)
                blocks = plan(seen[0], options.layers, options.skip_layers)
                edits = edited(model, seen, blocks, source.edits, options.layers)
                run = Run(model, blocks, Reduction(resolve(["mu"])), inputs.layout, seen[0].declared)
                found = Certifying(model, blocks, run, retain, edits)
            if progress:
                progress(f"batch {number + 1}", number, None)
            found.batch(batch)
    if found is None:
        raise InputError("RS250", "the inputs hold no batch: nothing was measured")
    stacks = tuple(_stacks(found, blocks, retain))
    if not any(step.mu is not None for stack in stacks for each in stack.sequences for step in each.steps):
        nothing = _nothing(found, stacks)
        raise nothing
    return Certificate(
        model=model_facts(source, model, edits.told),
        retain=retain,
        a=retain**2,
        stacks=stacks,
        inputs=_inputs(inputs, fingerprint, found),
        environment={
            "torch": torch.__version__,
            "device": str(device),
            "dtype": str(found.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        },
        notes=(*source.notes, *inputs.notes, *blocks.notes, *_notes(found, stacks)),
        created=now(),
        rankscope=__version__,
    )


def _inputs(inputs: Inputs, fingerprint: Fingerprint, found: Certifying) -> dict[str, Any]:
    stack = next(iter(found.sizes), ("", 0))[0]
    lengths = [tokens for (name, _), (tokens, _) in found.sizes.items() if name == stack]
    return {
        "source": inputs.source,
        "sha256": fingerprint.hexdigest(),
        "sequences": found.sequences,
        "tokens": sum(lengths),
        "lengths": [min(lengths), max(lengths)] if lengths else [0, 0],
        "seed": inputs.seed,
    }


def _stacks(found: Certifying, plan: Plan, retain: float) -> Iterator[Stack]:
    """The stacks of which there are numbers; a sequence counts where every block that could be read has them."""
    for name in dict.fromkeys(layer.stack for layer in plan.layers):
        sequences = [
            sequence(number, found.sizes[stack, number], steps, found.unlinked.get((stack, number), set()), retain)
            for (stack, number), steps in found.steps.items()
            if stack == name
        ]
        # Of tokens of another shape mu is another number: it is not held against that of the first.
        sequences = [replace(s, mu_last=None) if (name, s.sequence) in found.reshaped else s for s in sequences]
        if not sequences:
            continue
        ordered = worst_first(sequences)
        blocks = [
            Block(layer.index, layer.name, layer.type, lambdas(place.module), found.shown.get(layer))
            for layer, place in found.places.items()
            if layer.stack == name
        ]
        yield Stack(name, sentence(ordered[0], len(ordered), retain), tuple(blocks), ordered)


def _notes(found: Certifying, stacks: Iterable[Stack]) -> list[Note]:
    """What a reader of the numbers should know."""
    notes = [Note("RS425", text) for text in sorted(found.told)]
    if found.short:
        text = f"{len(found.short)} of {found.sequences} sequences have fewer than {MIN_TOKENS} tokens and are left out"
        notes.append(Note("RS533", text))
    notes += [Note("RS484", text) for text in map(_exploding, stacks) if text]
    notes += [Note("RS483", f"{name} could not be read: {reason}") for name, reason in found.unread.items()]
    return notes


def _exploding(stack: Stack) -> str | None:
    """That mu grows out of all proportion in a stack: a certificate bounds it from below alone."""
    for each in stack.sequences:
        if each.mu_first and each.mu_last is not None and each.mu_last > EXPLODED * each.mu_first:
            grown = f"mu grows from {each.mu_first:.3g} to {each.mu_last:.3g} in sequence {each.sequence}"
            return (
                f"{stack.stack}: {grown}: the tokens explode, which no certificate is about; each is a bound from below"
            )
    return None


def _nothing(found: Certifying, stacks: tuple[Stack, ...]) -> CaptureError:
    """The error where not one block gave a number."""
    reasons = [step.no_seminorm for stack in stacks for each in stack.sequences for step in each.steps]
    reasons += list(found.unread.values())
    reasons += [FEW] * bool(found.short)
    told = [("reason", text) for text in dict.fromkeys(filter(None, reasons))][:3]
    longer = ("Give longer sequences, or others", "--random SPEC, --input FILE or --text FILE")
    return CaptureError("RS482", "nothing was certified: no block gave a number", details=told, remedies=[longer])
