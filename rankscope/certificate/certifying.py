"""Certifying: hooks of one model, which turn every block that has run into the steps of its sequences.

One block at a time is in memory: what it got, the sums of its adds, what it gave, and what it multiplied.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from rankscope.capture.layout import Unmeasurable
from rankscope.capture.maps import arrange_maps
from rankscope.capture.session import forward
from rankscope.certificate.editing import MIXER, OUTPUT
from rankscope.certificate.matrices import NO_MATRICES, Mixed, mixers, of_maps, of_mixer
from rankscope.certificate.projections import projections
from rankscope.certificate.rounding import near
from rankscope.certificate.steps import MIN_TOKENS, Part, Seen, step
from rankscope.certificate.watching import Passage, Watching
from rankscope.records import display_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rankscope.capture.maps import AttentionMaps
    from rankscope.capture.places import AttentionPlace, Place, Plan
    from rankscope.certificate.editing import Edited
    from rankscope.certificate.projections import Projections
    from rankscope.certificate.records import Step
    from rankscope.records import Batch, Layer
    from rankscope.run import Run

    Attended = tuple[AttentionMaps, Projections | str]


class Certifying:
    """Collects the steps of every sequence, batch by batch.

    Args:
        model: the model.
        plan: where its blocks are.
        run: reads what a layer gives, as a probe does.
        retain: √a.
        edits: in force while the model runs.
    """

    def __init__(self, model: nn.Module, plan: Plan, run: Run, retain: float, edits: Edited) -> None:
        self._model, self._run, self._retain, self._edits = model, run, retain, edits
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
        self.reshaped: set[tuple[str, int]] = set()  # whose last tokens have not the shape of the first
        self.unlinked: dict[tuple[str, int], set[int]] = {}  # blocks whose input is not what the one before gave
        self.shown: dict[Layer, str] = {}  # where the matrices of a block were taken from
        self._watching = Watching(plan, self._leave)
        self._mixers: dict[Layer, list[tuple[str, nn.Module]]] = {}
        self._given: dict[nn.Module, Tensor] = {}  # what the mixers of the block that runs were given
        self._maps: dict[Layer, AttentionMaps] = {}
        self._projected: dict[Layer, Projections] = {}
        self._last: dict[tuple[str, int], tuple[int, Tensor]] = {}  # by stack and sequence, its last block and output
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
            exits.enter_context(torch.no_grad())
            exits.enter_context(self._watching)
            exits.enter_context(self._edits.force())  # before the hooks and after the mode, which then see the edited
            if self._edits.actions:
                exits.enter_context(self._watching.given)
            for module in {module for found in self._mixers.values() for _, module in found}:
                hook = module.register_forward_pre_hook(self._enter_mixer, with_kwargs=True)
                exits.callback(hook.remove)
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
            self._watching.enter(layer, tensor)
        else:
            self._watching.leave(layer, tensor)

    def _leave(self, passage: Passage, gave: Tensor) -> None:
        """A block has run: reduce it to the steps of its sequences, and let it go."""
        place = self.places[passage.layer]
        if self._edits.gives(place) and not passage.left_out(gave):
            passage.why = OUTPUT
        try:
            read = partial(self._run.read, place=place)
            begin, keep = read(passage.spans[0].begin)
            spans = [(read(span.begin)[0], read(span.end)[0], span.lam, span.by) for span in passage.spans]
            end, _ = read(gave)
            attended = self._attended(passage, begin)
            self._reduce(passage, (begin, spans, end), keep, attended)
        except Unmeasurable as reason:
            self.unread[passage.layer.name] = str(reason)
        finally:
            self._maps.pop(passage.layer, None)
            self._given.clear()

    def _attended(self, passage: Passage, begin: Tensor) -> Attended | str:
        """The attention maps of a block by sequence, with C_V or why it is not known; or why there are none."""
        layer, where = passage.layer, self._run.where
        if (maps := self._maps.get(layer)) is None:
            return NO_MATRICES
        try:
            arranged = arrange_maps(maps, where, begin.shape[1])
        except Unmeasurable as reason:
            return str(reason)
        if layer not in self._projected:  # the weights are the same in every batch
            try:
                self._projected[layer] = projections(passage.products, arranged, where, *begin.shape[1:])
            except Unmeasurable as reason:
                return arranged, str(reason)  # the next batch may show them
        return arranged, self._projected[layer]

    def _reduce(self, passage: Passage, seen: Any, keep: Tensor | None, attended: Attended | str) -> None:
        begin, spans, end = seen
        layer, eps, self.dtype = passage.layer, torch.finfo(end.dtype).eps, end.dtype
        for i in range(len(begin)):
            real = None if keep is None else keep[i].to(begin.device)
            pick = partial(_pick, i, real)
            tokens = pick(begin)
            key = layer.stack, self.sequences + i
            if len(tokens) < MIN_TOKENS and key not in self.steps:
                self.short.add(self.sequences + i)
                continue
            parts = tuple(Part(pick(a), pick(b), lam, by) for a, b, lam, by in spans)
            mixed = self._mixed(layer, i, real, tokens, attended)
            found = step(Seen(layer, tokens, pick(end), parts, passage.adds, passage.why, eps, mixed), self._retain)
            size = self.sizes.setdefault(key, (tokens.shape[0], tokens.shape[1]))
            (self.reshaped.discard if pick(end).shape == size else self.reshaped.add)(key)
            self.steps.setdefault(key, []).append(found)
            self._link(key, found.index, tokens, eps)
            self._last[key] = found.index, pick(end)

    def _link(self, key: tuple[str, int], index: int, entered: Tensor, eps: float) -> None:
        """Hold what enters a block against what the one before gave, where that one could be read."""
        before, left = self._last.get(key, (0, entered))
        if before != index - 1 or not near(entered, left, eps):
            self.unlinked.setdefault(key, set()).add(index)

    def _mixed(self, layer: Layer, i: int, real: Tensor | None, tokens: Tensor, attended: Attended | str) -> Mixed:
        """M and C_V of one sequence: of the mixer that shows them, else of the attention maps."""
        found = [(name, module) for name, module in self._mixers[layer] if module in self._given]
        if len(found) == 1:
            name, module = found[0]
            if self._edits.within(".".join(filter(None, (self.places[layer].module_name, name)))):
                return Mixed(no_matrices=MIXER)
            self.shown[layer] = f"mixing() of {display_name(name) or 'the block'}"
            return of_mixer(module, self._given[module][i : i + 1], real, tokens)
        if found:
            return Mixed(no_matrices=f"{len(found)} mixers in one block")
        if isinstance(attended, str):
            return Mixed(no_matrices=attended)
        return of_maps(attended[0], i, real, tokens, attended[1])


def _pick(index: int, real: Tensor | None, tokens: Tensor) -> Tensor:
    """The real tokens of one sequence, in float64."""
    one = tokens[index] if real is None else tokens[index][real]
    return (one.cpu() if one.device.type == "mps" else one).double()
