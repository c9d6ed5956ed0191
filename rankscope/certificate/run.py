"""Run: the batches of one model, block by block, to a certificate. One block at a time is in memory."""

from __future__ import annotations

import contextlib
import datetime
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from rankscope._version import __version__
from rankscope.capture.layout import Unmeasurable
from rankscope.capture.learned import lambdas
from rankscope.capture.planning import planned
from rankscope.capture.session import forward, undisturbed
from rankscope.capture.wrappers import class_name
from rankscope.certificate.matrices import Mixed, mixers, of_maps, of_mixer
from rankscope.certificate.overall import sequence, worst_first
from rankscope.certificate.records import Block, Certificate, Stack
from rankscope.certificate.steps import Part, Seen, step
from rankscope.certificate.watching import Passage, Watching, close
from rankscope.certificate.words import sentence
from rankscope.errors import CaptureError, InputError
from rankscope.inputs import Fingerprint
from rankscope.measures import resolve
from rankscope.placing import placed, to_model
from rankscope.records import Note
from rankscope.reduction import Reduction
from rankscope.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from rankscope.capture.maps import AttentionMaps
    from rankscope.capture.places import AttentionPlace, Place, Plan
    from rankscope.certificate.records import Step
    from rankscope.pipeline import MeasureOptions
    from rankscope.records import Batch, Inputs, Layer, Source

    Progress = Callable[[str, int, int | None], None]

MIN_TOKENS = 4  # of a sequence, as for every verdict


class Certifying:
    """Collects the steps of every sequence, batch by batch.

    Args:
        model: the model.
        plan: where its blocks are.
        run: reads what a layer gives, as a probe does.
        retain: √a.
    """

    def __init__(self, model: nn.Module, plan: Plan, run: Run, retain: float) -> None:
        self._model, self._run, self._retain = model, run, retain
        blocks = [place for place in plan.places if place.layer.index]
        stream = {place.layer.stack: place.stream for place in plan.places if place.entering}
        self.places = {place.layer: place for place in blocks}
        entering = [replace(p, entering=True, stream=stream.get(p.layer.stack, 0)) for p in blocks]
        self._plan = replace(plan, places=(*entering, *blocks), values={}, value_modules=())
        self.told: set[str] = set()
        self.unread: dict[str, str] = {}
        self.sequences, self.dtype = 0, torch.float32
        self.short: set[int] = set()
        self.steps: dict[tuple[str, int], list[Step]] = {}  # by stack and sequence
        self.sizes: dict[tuple[str, int], tuple[int, int]] = {}
        self.unlinked: dict[str, set[int]] = {}
        self.shown: dict[Layer, str] = {}  # where the matrices of a block were taken from
        self._watching = Watching(plan, self._leave)
        self._mixers: dict[Layer, list[tuple[str, nn.Module]]] = {}
        self._given: dict[nn.Module, Tensor] = {}  # what the mixers of the block that runs were given
        self._maps: dict[Layer, AttentionMaps] = {}
        self._last: dict[str, Tensor] = {}  # by stack, what its last block gave
        for layer, place in self.places.items():
            inside = {p.module for p in blocks if p.module is not place.module}
            found = mixers(place.module)
            self._mixers[layer] = [] if any(m in inside for _, at in found for m in at.modules()) else found

    def batch(self, batch: Batch) -> None:
        """Run one batch."""
        self._run.enter(batch)
        self._watching.begin()
        self._last.clear()
        with contextlib.ExitStack() as exits:
            for module in {module for found in self._mixers.values() for _, module in found}:
                hook = module.register_forward_pre_hook(self._enter_mixer, with_kwargs=True)
                exits.callback(hook.remove)
            exits.enter_context(torch.no_grad())
            exits.enter_context(self._watching)
            forward(self._model, batch, self._plan, self._observe, None, self._attention, self.told.add)
        self.sequences += self._run.where.batch

    def _enter_mixer(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        given = next(
            (t for t in (*args, *kwargs.values()) if isinstance(t, torch.Tensor) and t.is_floating_point()), None
        )
        if given is not None:
            with torch._C.DisableTorchFunction():
                self._given[module] = given.detach().clone()

    def _attention(self, place: AttentionPlace, maps: AttentionMaps) -> None:
        if place.kind == "self":
            self._maps[place.layer] = maps
            self.shown.setdefault(place.layer, f"attention maps ({place.how})")

    def _observe(self, place: Place, tensor: Tensor) -> None:
        layer = place.layer
        if place.entering:
            last = self._last.get(layer.stack)
            if last is not None and not close(tensor.detach(), last):
                self.unlinked.setdefault(layer.stack, set()).add(layer.index)
            self._watching.enter(layer, tensor)
        else:
            self._last[layer.stack] = tensor.detach().clone()
            self._watching.leave(layer, tensor)

    def _leave(self, passage: Passage, gave: Tensor) -> None:
        """A block has run: reduce it to the steps of its sequences, and let it go."""
        place = self.places[passage.layer]
        try:
            read = partial(self._run.read, place=place)
            begin, keep = read(passage.spans[0].begin)
            spans = [(read(span.begin)[0], read(span.end)[0], span.lam, span.by) for span in passage.spans]
            end, _ = read(gave)
            self._reduce(passage, (begin, spans, end), keep)
        except Unmeasurable as reason:
            self.unread[passage.layer.name] = str(reason)
        finally:
            self._maps.pop(passage.layer, None)
            self._given.clear()

    def _reduce(self, passage: Passage, seen: Any, keep: Tensor | None) -> None:
        begin, spans, end = seen
        layer, eps, self.dtype = passage.layer, torch.finfo(end.dtype).eps, end.dtype
        for i in range(len(begin)):
            real = None if keep is None else keep[i].to(begin.device)
            pick = partial(_pick, i, real)
            tokens = pick(begin)
            if len(tokens) < MIN_TOKENS:
                self.short.add(self.sequences + i)
                continue
            parts = tuple(Part(pick(a), pick(b), lam, by) for a, b, lam, by in spans)
            mixed = self._mixed(layer, i, real, tokens)
            found = step(Seen(layer, tokens, pick(end), parts, passage.adds, passage.why, eps, mixed), self._retain)
            key = layer.stack, self.sequences + i
            self.sizes.setdefault(key, (tokens.shape[0], tokens.shape[1]))
            self.steps.setdefault(key, []).append(found)

    def _mixed(self, layer: Layer, i: int, real: Tensor | None, tokens: Tensor) -> Mixed:
        """M and C_V of one sequence: of the mixer that shows them, else of the attention maps."""
        found = [(name, module) for name, module in self._mixers[layer] if module in self._given]
        if len(found) == 1:
            name, module = found[0]
            self.shown[layer] = f"mixing() of {name or 'the block'}"
            return of_mixer(module, self._given[module][i : i + 1], real, tokens)
        if found:
            return Mixed(no_matrices=f"{len(found)} mixers in one block")
        if (maps := self._maps.get(layer)) is not None:
            return of_maps(maps, self._run.where, i, real, len(tokens) if real is None else len(real))
        return Mixed()


def _pick(index: int, real: Tensor | None, tokens: Tensor) -> Tensor:
    """The real tokens of one sequence, in float64."""
    one = tokens[index] if real is None else tokens[index][real]
    return (one.cpu() if one.device.type == "mps" else one).double()


def certified(
    source: Source, inputs: Inputs, options: MeasureOptions, retain: float, progress: Progress | None = None
) -> Certificate:
    """Certify a model on inputs.

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
                plan, declared = planned(model, batch, inputs.layout, options.layers, options.skip_layers)
                run = Run(model, plan, Reduction(resolve(["mu"])), inputs.layout, declared)
                found = Certifying(model, plan, run, retain)
            if progress:
                progress(f"batch {number + 1}", number, None)
            found.batch(batch)
    if found is None:
        raise InputError("RS250", "the inputs hold no batch: nothing was measured")
    stacks = tuple(_stacks(found, plan, retain))
    if not any(step.mu is not None for stack in stacks for each in stack.sequences for step in each.steps):
        nothing = _nothing(found, stacks)
        raise nothing
    return Certificate(
        model={
            "spec": source.spec,
            "class": class_name(model),
            "format": source.format,
            "sha256": source.sha256,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        },
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
        notes=(*source.notes, *inputs.notes, *plan.notes, *_notes(found)),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
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
            sequence(number, found.sizes[stack, number], steps, found.unlinked.get(stack, set()), retain)
            for (stack, number), steps in found.steps.items()
            if stack == name
        ]
        if not sequences:
            continue
        ordered = worst_first(sequences)
        blocks = [
            Block(layer.index, layer.name, layer.type, lambdas(place.module), found.shown.get(layer))
            for layer, place in found.places.items()
            if layer.stack == name
        ]
        yield Stack(name, sentence(ordered[0], len(ordered), retain), tuple(blocks), ordered)


def _notes(found: Certifying) -> list[Note]:
    """What a reader of the numbers should know."""
    notes = [Note("RS425", text) for text in sorted(found.told)]
    if found.short:
        text = f"{len(found.short)} of {found.sequences} sequences have fewer than {MIN_TOKENS} tokens and are left out"
        notes.append(Note("RS533", text))
    notes += [Note("RS483", f"{name} could not be read: {reason}") for name, reason in found.unread.items()]
    return notes


def _nothing(found: Certifying, stacks: tuple[Stack, ...]) -> CaptureError:
    """The error where not one block gave a number."""
    reasons = [step.no_seminorm for stack in stacks for each in stack.sequences for step in each.steps]
    reasons += list(found.unread.values())
    reasons += [f"fewer than {MIN_TOKENS} tokens"] * bool(found.short)
    told = [("reason", text) for text in dict.fromkeys(filter(None, reasons))][:3]
    longer = ("Give longer sequences, or others", "--random SPEC, --input FILE or --text FILE")
    return CaptureError("RS482", "nothing was certified: no block gave a number", details=told, remedies=[longer])
