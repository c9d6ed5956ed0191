"""Run: the batches of one model, from hook to reduction."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from rankscope.capture.attention import arrange_values
from rankscope.capture.layout import Axes, Declared, Unmeasurable, axes, read
from rankscope.capture.learned import lambdas
from rankscope.capture.maps import arrange_maps
from rankscope.capture.session import forward
from rankscope.errors import CaptureError
from rankscope.records import Batch, Coverage, Layer, Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor, nn

    from rankscope.capture.maps import AttentionMaps
    from rankscope.capture.places import AttentionPlace, Place, Plan, ValuePlace
    from rankscope.records import Row, Vector
    from rankscope.reduction import Reduction

DECODER = ("decoder", "tgt")


class Run:
    """Feeds a reduction from hooks; knows for each batch its axes, its masks and the values of layer 1.

    Args:
        model: the model.
        plan: where to hook.
        reduction: where activations go.
        layout: the layout of the inputs, where given.
        declared: what the trace learned of it.
        progress: called per layer.
        outputs: is shown what the model returned for each batch, and the batch.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        reduction: Reduction,
        layout: str | None = None,
        declared: Declared | None = None,
        progress: Callable[[str, int, int | None], None] | None = None,
        outputs: Callable[[Any, Batch], None] | None = None,
    ) -> None:
        self.plan, self.reduction, self._outputs = plan, reduction, outputs
        self.sequences = self.tokens = 0
        self.lengths: tuple[int, int] | None = None  # of the first stack: the fewest and the most tokens of a sequence
        self.dtype = torch.float32
        self.shapes: dict[Layer, tuple[int, ...]] = {}
        self.unread: dict[Layer, str] = {}  # layers that ran, but whose output could not be read
        self.notes: list[Note] = []
        self.model, self._layout, self._declared, self._progress = model, layout, declared, progress
        self._batch, self.where = Batch(), Axes(0, None, None)
        self._first_values: dict[str, Tensor | None] = {}  # of this batch, by stack, and so the tokens of its layers
        self._before: dict[str, tuple[int, Tensor]] = {}  # the layer before, where a measure compares with it
        self._tokens: dict[str, int] = {}
        self._short: Counter[str] = Counter()  # sequences with too few tokens, by stack
        self._valued: set[Layer] = set()
        self._attended: set[Layer] = set()
        self._told: set[str] = set()  # of places that ran more or less often than when the model was traced
        self._seen = self._batches = 0
        self._decoders = {layer.stack for layer in plan.layers if "decoder" in layer.stack}

    def batch(self, batch: Batch, also: Callable[[Place, Tensor], None] | None = None) -> Any:
        """Measure one batch.

        Args:
            batch: the arguments.
            also: is shown every place and its activation too; the model then runs so that it can be differentiated.

        Returns:
            What the model returned.
        """
        self.enter(batch)
        self._seen, self._tokens = 0, {}
        observe_values = self._values if self.reduction.wants("value") else None
        observe_attention = self._attention if self.reduction.wants("attention") else None

        def observe(place: Place, tensor: Tensor) -> None:
            if also:
                also(place, tensor)
            self._activation(place, tensor)

        with torch.set_grad_enabled(also is not None):
            output = forward(self.model, batch, self.plan, observe, observe_values, observe_attention, self._told.add)
        self._first_values, self._before = {}, {}
        if self._outputs:
            self._outputs(output, batch)
        self.reduction.end_of_batch()
        self.sequences += self.where.batch
        self._batches += 1
        return output

    @property
    def strayed(self) -> bool:
        """Whether some place ran more or less often than when the model was traced."""
        return bool(self._told)

    def described(self) -> tuple[Layer, ...]:
        """The layers with their shape, and blocks with what they say of their λ and value mixes."""
        told = [{} if place.entering else lambdas(place.module) for place in self.plan.places]
        pairs = zip(self.plan.layers, told, strict=True)
        return tuple(replace(layer, shape=self.shapes.get(layer, ()), lambdas=own) for layer, own in pairs)

    def finish(self) -> None:
        """Say of every layer that gave nothing why.

        Raises:
            CaptureError: no hook fired at all.
        """
        if not self.shapes and not self.unread:
            raise CaptureError(
                "RS403",
                f"hooks on {len(self.plan.places)} of {len(self.plan.places)} selected layers never fired",
                remedies=[("Name layers that run", "--layers GLOB")],
            )
        for stack, count in self._short.items():
            least, whose = self.reduction.min_tokens, "" if stack == self.plan.layers[0].stack else f"{stack}: "
            if whose and count == self.sequences:  # pooled to few tokens: its rows say so
                continue
            text = f"{whose}{count} of {self.sequences} sequences have fewer than {least} tokens and are left out"
            self.notes.append(Note("RS533", text))
        self.notes += [Note("RS425", text) for text in sorted(self._told)]
        for layer in self.plan.layers:
            if layer not in self.shapes and layer not in self.unread:
                self.reduction.fail("block", layer, "skipped", "it did not run")
            if layer.index:
                self._say_missing(layer)

    def _say_missing(self, layer: Layer) -> None:
        """Why a layer gave no values or no attention map."""
        key, idle = (layer.stack, layer.index), "its attention call did not run"
        if layer not in self._valued:
            self.reduction.fail("value", layer, "undefined", self.plan.no_values.get(key, idle))
        if layer not in self._attended:
            self.reduction.fail("attention", layer, "undefined", self.plan.no_attention.get(key, idle))

    def coverage(self, rows: Iterable[Row | Vector]) -> Coverage:
        """Layers found, hooked, fired and measured, and why others are not.

        Args:
            rows: all that was had.

        Returns:
            The counts.
        """
        ok = {(row.stack, row.layer_index) for row in rows if row.status == "ok"}
        layers, fired = self.plan.layers, self.shapes.keys() | self.unread.keys()
        idle = {layer.name: "it did not run" for layer in layers if layer not in fired}
        unread = {layer.name: reason for layer, reason in self.unread.items()}
        return Coverage(
            found=len(layers) + len(self.plan.skipped),
            hooked=len(layers),
            fired=len(fired),
            measured=sum((layer.stack, layer.index) in ok for layer in layers),
            skipped={**self.plan.skipped, **idle, **unread},
        )

    def enter(self, batch: Batch) -> None:
        """Read the axes of a batch, and what of it is padding: `read` goes by them."""
        self._batch = batch
        try:
            self.where = axes(batch, self._layout, self._declared)
        except Unmeasurable:
            self.where = Axes(1, None, None)

    @torch.no_grad()
    def _activation(self, place: Place, tensor: Tensor) -> None:
        layer = place.layer
        self._seen += 1
        if self._progress:
            self._progress(f"batch {self._batches + 1}: {layer.name}", self._seen, len(self.plan.places))
        try:
            tokens, keep = self.read(tensor.detach(), place)
            self._reduce(layer, tokens, keep)
        except Unmeasurable as reason:
            self.unread[layer] = str(reason)
            self.reduction.fail("block", layer, "undefined", str(reason))
        except Exception as error:  # inside the hook it would pass for a failure of the model
            self.unread[layer] = f"{type(error).__name__}: {error}"
            self.reduction.fail("block", layer, "error", self.unread[layer])

    def _reduce(self, layer: Layer, tokens: Tensor, keep: Tensor | None) -> None:
        if not self.shapes or torch.finfo(tokens.dtype).eps > torch.finfo(self.dtype).eps:
            self.dtype = tokens.dtype  # the coarsest of a model of several
        if layer.stack not in self._tokens:  # its first layer in this batch
            lengths = torch.full((len(tokens),), tokens.shape[1]) if keep is None else keep.sum(1)
            if layer.stack == self.plan.layers[0].stack and len(lengths):
                self.tokens += int(lengths.sum())
                ends = [int(end) for end in (*(self.lengths or ()), *lengths.aminmax())]
                self.lengths = min(ends), max(ends)
            if short := int((lengths < self.reduction.min_tokens).sum()):
                self._short[layer.stack] += short
        self._tokens[layer.stack] = tokens.shape[1]
        self.shapes[layer] = max(self.shapes.get(layer, ()), tuple(tokens.shape[1:]))  # batches may differ in length
        self.reduction.activation(layer, tokens, keep, self.sequences, self._previous(layer, tokens))

    def _previous(self, layer: Layer, tokens: Tensor) -> Tensor | None:
        """What the layer before gave, where a measure asks for it; a copy of this one takes its place."""
        if not self.reduction.stepwise:
            return None
        index, previous = self._before.get(layer.stack, (None, None))
        self._before[layer.stack] = layer.index, tokens.clone()  # a block may write into its input
        return previous if index == layer.index - 1 else None

    @torch.no_grad()
    def _values(self, place: ValuePlace, value: Tensor, mixed: Tensor) -> None:
        layer = place.layer
        self._valued.add(layer)
        try:
            tokens = self._tokens.get(layer.stack)  # unknown where attention runs before the first block
            values = arrange_values(value.detach(), place.repeated, self.where, tokens)
            entering = values if mixed is value else arrange_values(mixed.detach(), place.repeated, self.where, tokens)
            keep = self._keep(layer.stack, values.shape[0], values.shape[2])
        except Unmeasurable as reason:
            self._first_values.setdefault(layer.stack, None)
            self.reduction.fail("value", layer, "undefined", str(reason))
            return
        first = self._first_values.setdefault(layer.stack, values)
        found = {"value": values, "mixed_value": entering, "first_value": first}
        self.reduction.values(layer, found, keep, self.sequences)

    @torch.no_grad()
    def _attention(self, place: AttentionPlace, maps: AttentionMaps) -> None:
        layer, parameter = place.layer, "cross" if place.kind == "cross" else None
        self._attended.add(layer)
        try:
            tokens = self._tokens.get(layer.stack)  # unknown where attention runs before the first block
            arranged = arrange_maps(maps, self.where, tokens, place.kind)
            queries = self._keep(layer.stack, len(arranged), arranged.queries)
            keys = self._keep_keys(layer.stack, len(arranged), arranged.keys) if parameter else queries
            self.reduction.attention(layer, arranged, (queries, keys), self.sequences, parameter)
        except Unmeasurable as reason:
            self.reduction.fail("attention", layer, "undefined", str(reason), parameter)
        except Exception as error:  # the maps are recomputed here: a failure of that is not one of the model
            self.reduction.fail("attention", layer, "error", f"{type(error).__name__}: {error}", parameter)

    def read(self, tensor: Tensor, place: Place) -> tuple[Tensor, Tensor | None]:
        """What a layer gave, or a gradient of it, as tokens (batch, tokens, width) with a mask of the real ones."""
        tokens, keep = read(tensor, place.module, self.where)
        if keep is None:
            keep = self._keep(place.layer.stack, tokens.shape[0], tokens.shape[1])
        return tokens, keep

    def _keep(self, stack: str, sequences: int, tokens: int) -> Tensor | None:
        """The padding mask of a stack; a decoder has its own."""
        return self._mask(stack in self._decoders, sequences, tokens)

    def _keep_keys(self, stack: str, sequences: int, tokens: int) -> Tensor | None:
        """The padding mask of what cross-attention of a stack looks at: of a decoder's, the encoder's."""
        return self._mask(stack not in self._decoders, sequences, tokens)

    def _mask(self, decoder: bool, sequences: int, tokens: int) -> Tensor | None:
        """The mask of the decoder's or of the other tokens."""
        masks = dict(self._batch.keep)
        mixed = self._decoders and self._decoders != {layer.stack for layer in self.plan.layers}
        if mixed or (self._decoders and any(name.startswith(DECODER) for name in masks)):
            masks = {name: mask for name, mask in masks.items() if name.startswith(DECODER) == decoder}
        padded = {name: mask for name, mask in masks.items() if not bool(mask.all())}
        if not padded:
            return None
        fitting = [mask for mask in padded.values() if tuple(mask.shape) == (sequences, tokens)]
        if not fitting and tokens < self.reduction.min_tokens:  # pooled: no mask is meant for it
            raise Unmeasurable(f"fewer than {self.reduction.min_tokens} tokens")
        if not fitting:
            sizes = ", ".join(f"{name} {list(mask.shape)}" for name, mask in padded.items())
            raise Unmeasurable(f"its {sequences} × {tokens} tokens do not fit the padding mask ({sizes})")
        return fitting[0]
