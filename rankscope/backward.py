"""Backward: one backward pass for a run; the gradients of activations and of weights go to its reduction."""

from __future__ import annotations

from collections import Counter
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import torch

from rankscope.capture.gradients import gradients, weights_of
from rankscope.capture.keeping import Keeping, bytes_of_gradients
from rankscope.capture.layout import Unmeasurable
from rankscope.capture.session import forward as plain
from rankscope.capture.slicing import first_sequences
from rankscope.errors import CaptureError, UsageError
from rankscope.records import Batch, Note
from rankscope.reduction import WeightGradient

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rankscope.capture.gradients import Gradients
    from rankscope.capture.places import Place
    from rankscope.records import Layer, Status
    from rankscope.run import Run

    Show = Callable[[Place, Tensor], None]
    Forward = Callable[[Batch, Show], Any]


class Backward:
    """Gradients over the first sequences of the first batch: at most `limit` real tokens, at least one sequence.

    Args:
        run: which measures the activations; its reduction takes the gradients.
        loss: see `losses.loss_of`.
        limit: tokens.
        progress: called once it begins.
    """

    def __init__(
        self,
        run: Run,
        loss: str | Callable[[Any, Batch], Tensor],
        limit: int,
        progress: Callable[[str, int, int | None], None] | None = None,
    ) -> None:
        self._run, self._reduction, self._loss, self._limit = run, run.reduction, loss, limit
        self._progress = progress
        self.done = False
        self.notes: list[Note] = []

    @property
    def wanted(self) -> bool:
        """Whether any measure asks for gradients."""
        return self._reduction.wants("gradient") or self._reduction.wants("weight_gradient")

    def together(self, batch: Batch) -> bool:
        """Measure the activations of the first batch in the forward pass that the backward pass needs.

        Only a batch that is within the limit as a whole. Where the forward pass fails, the run holds half of a batch
        and is of no use; where only the backward pass does, the gradients alone are lost.

        Args:
            batch: the first one; the run has measured nothing.

        Returns:
            Whether the batch was measured.
        """
        self._run.enter(batch)
        known = batch.keep or self._run.where.tokens
        if not (self.wanted and known and self._count(batch) >= self._run.where.batch):
            return False

        def forward(leaves: Batch, show: Show) -> Any:
            output = self._run.batch(leaves, show)
            self.done = True
            self._tell()
            return output

        self.notes = self._measure(batch, forward)
        return self.done

    def finish(self, batch: Batch) -> list[Note]:
        """Run a forward and a backward pass of their own, if gradients are wanted and were not had together.

        Args:
            batch: the first one.

        Returns:
            What to say of the gradients.
        """
        if self.wanted and not self.done:
            self._run.enter(batch)
            self._tell()
            self.notes = self._measure(first_sequences(batch, self._count(batch), self._run.where), None)
        return self.notes

    def _tell(self) -> None:
        if self._progress:
            self._progress("gradients", 0, None)

    def _measure(self, chosen: Batch, forward: Forward | None) -> list[Note]:
        weights, factored = self._reduction.wants("weight_gradient"), not self._reduction.exact
        keeping = self._keeping(weights, factored)
        if reason := keeping.beforehand():
            return self._lost("skipped", reason)
        try:
            found = gradients(
                self._run.model,
                chosen,
                self._run.plan,
                self._loss,
                weights=weights,
                factored=factored,
                run=self._kept(keeping, forward),
            )
        except UsageError as error:
            if self._loss != "auto":
                raise
            return self._lost("undefined", error.headline)
        except torch.OutOfMemoryError:
            return self._lost("skipped", "the backward pass ran out of memory")
        except Unmeasurable as unmeasurable:
            return self._lost("undefined", str(unmeasurable))
        except (CaptureError, MemoryError, RuntimeError, NotImplementedError, TypeError, ValueError) as error:
            if keeping.reason:
                return self._lost("skipped", keeping.reason)
            text = error.headline if isinstance(error, CaptureError) else f"{type(error).__name__}: {error}"
            why = shorten(text.splitlines()[0], 240, placeholder=" …")
            return self._lost("undefined", f"the model cannot be differentiated: {why}")
        self._run.enter(chosen)
        count = self._run.where.batch
        tokens = self._reduce(found.activations) or self._real_tokens(chosen)
        self._reduce_weights(found, tokens, count)
        over = "one sequence" if count == 1 else f"the first {count} sequences"
        return [Note("RS531", f"gradients: loss {found.loss}, over {over}")]

    def _keeping(self, weights: bool, factored: bool) -> Keeping:
        plan, memory = self._run.plan, self._reduction.memory
        matrices = weights_of(plan) if weights else []
        device = next((parameter.device for parameter in self._run.model.parameters()), torch.device("cpu"))
        taken = bytes_of_gradients(matrices, self._limit, factored=factored)
        return Keeping(memory, device, len(plan.places), taken)

    def _kept(self, keeping: Keeping, forward: Forward | None) -> Forward:
        """The forward pass, stopped where it keeps too much."""

        def run(leaves: Batch, show: Show) -> Any:
            def seen(place: Place, tensor: Tensor) -> None:
                show(place, tensor)
                keeping.layer()

            if forward:
                return forward(leaves, seen)
            return plain(self._run.model, leaves, self._run.plan, seen)

        return run

    def _lost(self, status: Status, reason: str) -> list[Note]:
        for layer in self._run.plan.layers:
            for site in ("gradient", "weight_gradient"):
                self._reduction.fail(site, layer, status, reason)
        return [Note("RS532", f"no gradients: {reason}")]

    def _count(self, batch: Batch) -> int:
        """How many sequences are within the limit."""
        mask = next(iter(batch.keep.values()), None)
        if mask is not None:
            return max(1, int((mask.sum(1).cumsum(0) <= self._limit).sum()))
        run = self._run
        tokens = run.where.tokens or (run.tokens // max(1, run.sequences)) or self._limit
        return max(1, self._limit // tokens)

    def _real_tokens(self, batch: Batch) -> int:
        """The real tokens of the batch, as far as its arguments tell."""
        mask = next(iter(batch.keep.values()), None)
        return self._run.where.batch * (self._run.where.tokens or 1) if mask is None else int(mask.sum())

    def _reduce(self, activations: dict[Place, Tensor | None]) -> int:
        """Reduce ∂L/∂Y(k) of every place; the number of real tokens that it is over."""
        seen = 0
        real: dict[Layer, Tensor] = {}
        for place, gradient in activations.items():
            layer = place.layer
            if gradient is None:
                why = self._run.unread.get(layer, "the loss does not depend on this layer")
                self._reduction.fail("gradient", layer, "undefined", why)
                continue
            try:
                tokens, keep = self._run.read(gradient, place)
            except Unmeasurable as reason:
                self._reduction.fail("gradient", layer, "undefined", str(reason))
            else:
                real[layer] = tokens.flatten(0, 1) if keep is None else tokens[keep]
                seen = max(seen, len(real[layer]))
        last = {layer.stack: real.get(layer) for layer in self._run.plan.layers}
        for layer, gradient in real.items():
            final = last[layer.stack]
            final = gradient.new_full((1, 1), torch.nan) if final is None else final
            self._reduction.gradient(layer, gradient, final, self._run.where.batch)
        return seen

    def _reduce_weights(self, found: Gradients, tokens: int, sequences: int) -> None:
        """Reduce ∂L/∂W of every weight; none outlives its spectrum."""
        uses = Counter(place.module for place in self._run.plan.places if not place.entering)
        taken: list[WeightGradient] = []
        for key in list(found.weights):
            (place, parameter), gradient = key, found.weights.pop(key)
            if gradient is None:
                reason = "it is offloaded between calls" if key in found.offloaded else "the loss does not depend on it"
                self._reduction.fail("weight_gradient", place.layer, "undefined", reason, parameter)
                continue
            matrix = gradient if isinstance(gradient, tuple) else gradient.flatten(1)
            taken.append(WeightGradient(place.layer, parameter, matrix, tokens * uses[place.module]))
            del gradient, matrix
        self._reduction.weight_gradients(taken, sequences)
