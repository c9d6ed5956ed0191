"""Reduction: activations go in, inside the hook; one number a sequence and measure stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from rankscope.attending import reduce_attention, reduce_values
from rankscope.cells import Sample
from rankscope.collection import NOT_FINITE, Collection, given
from rankscope.deferred import Deferred
from rankscope.groups import CHUNK_BYTES, Group, groups, without_zero_rows
from rankscope.measures import Request, in_form, norm
from rankscope.memory import Memory
from rankscope.moments import bytes_of
from rankscope.pooling import Pooling
from rankscope.records import Spectrum
from rankscope.spectra.several import dtype_of, shape_of, spectra, work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from rankscope.attending import Maps, Masks
    from rankscope.deferred import Common, Dominant
    from rankscope.records import Layer, Row, Site, Status, Vector
    from rankscope.spectra.engine import Method
    from rankscope.spectra.several import Found, Matrix
    from rankscope.sums import Sums


@dataclass(frozen=True, slots=True)
class WeightGradient:
    """∂L/∂W of one weight as a matrix, formed or as factors; its rank is at most `tokens`."""

    layer: Layer
    parameter: str
    matrix: Matrix
    tokens: int


class Reduction:
    """Collects samples over layers and batches; `rows` gives the rows of a report, `vectors` its spectra.

    Args:
        requests: the measures asked for.
        method: how spectra are computed: ``auto``, ``gram64`` or ``svd``.
        memory: what may be held at once; 4 GiB where None.
    """

    def __init__(self, requests: Sequence[Request], method: Method = "auto", memory: Memory | None = None) -> None:
        self._method, self.memory = method, memory or Memory()
        self._collection = Collection(requests)
        block = self._collection.at("block")
        pooled = [request for request in block if request.scope == "pooled"]
        immediate = [r for r in block if r.scope == "sequence" and r.measure.moments is None]
        self._immediate = [r for r in immediate if "previous" not in r.measure.needs]
        self._stepwise = [r for r in immediate if "previous" in r.measure.needs]
        rest = [r for r in block if r.scope == "sequence" and r.measure.moments is not None]
        self._deferred = Deferred(self._collection, rest, method, self.memory)
        self._pooling = Pooling(self._collection, pooled, self.memory)

    @property
    def dominant(self) -> dict[Layer, Dominant]:
        """The token of largest norm, by layer."""
        self._deferred.finish()
        return self._deferred.dominant

    @property
    def common(self) -> dict[Layer, Common]:
        """The direction that the tokens share, by layer."""
        self._deferred.finish()
        return self._deferred.common

    def wants(self, site: Site) -> bool:
        """Whether any measure of a site was asked for."""
        return bool(self._collection.at(site))

    @property
    def stepwise(self) -> bool:
        """Whether any measure compares a layer with the one before it."""
        return bool(self._stepwise)

    @property
    def exact(self) -> bool:
        """Whether spectra are those of the matrices themselves, by an SVD."""
        return self._method == "svd"

    @property
    def min_tokens(self) -> int:
        """The fewest tokens with which some measure of a block's output means anything."""
        return min((request.measure.min_tokens for request in self._collection.at("block")), default=0)

    def rows(self) -> tuple[Row, ...]:
        """The rows of all cells, in the order in which places were seen."""
        self._finish()
        return self._collection.rows()

    def vectors(self) -> tuple[Vector, ...]:
        """What was found of measures of several numbers, such as singular values."""
        self._finish()
        return self._collection.vectors()

    def sums(self) -> tuple[Sums, ...]:
        """The sums of the pools, on the CPU."""
        self._finish()
        return self._pooling.sums()

    def fail(self, site: Site, layer: Layer, status: Status, reason: str, parameter: str | None = None) -> None:
        """Say why the measures of a site could not be had at a layer."""
        self._collection.fail(self._collection.at(site), layer, status, reason, parameter)

    def activation(
        self, layer: Layer, tokens: Tensor, keep: Tensor | None, first: int, previous: Tensor | None = None
    ) -> None:
        """Reduce one activation (batch, tokens, width).

        Args:
            layer: where.
            tokens: the activation.
            keep: its real tokens.
            first: the number of its first sequence in the run.
            previous: that of the layer before, where `stepwise`.
        """
        for group in groups(tokens, keep, first, self.memory.share(16, CHUNK_BYTES)):  # and the forms made of it
            self._deferred.add(layer, group, tokens.dtype)
            self._pooling.add(layer, group, tokens.dtype)
            if self._immediate:
                self._with_tokens(layer, group)
        if self._stepwise and layer.index:
            self._step(layer, tokens, keep, first, previous)

    def _step(self, layer: Layer, tokens: Tensor, keep: Tensor | None, first: int, previous: Tensor | None) -> None:
        """Evaluate what compares a layer with the one before it."""
        if previous is None or previous.shape != tokens.shape:
            like = "not of its shape" if previous is not None else "not measured, or could not be read"
            self._collection.fail(self._stepwise, layer, "undefined", f"the layer before it is {like}")
            return
        need = bytes_of(tokens.shape[1], 2 * tokens.shape[2], [("raw", "size")])
        if reason := self.memory.refusal(need, f"one sequence of {tokens.shape[1]} × {tokens.shape[2]}, twice"):
            self._collection.fail(self._stepwise, layer, "skipped", reason)
            return
        both = torch.cat([tokens, previous], dim=-1)
        for group in groups(both, keep, first, self.memory.share(16, CHUNK_BYTES)):
            finite = self._collection.finite(layer, self._stepwise, group, tokens.dtype).double()
            if finite.numbers:
                here, before = finite.tokens.chunk(2, dim=-1)
                material = given(tokens=here, previous=before)
                self._collection.collect(layer, self._stepwise, replace(finite, tokens=here), tokens.dtype, material)

    def _with_tokens(self, layer: Layer, group: Group) -> None:
        """Evaluate what takes the tokens themselves, sequence by sequence."""
        requests, (real, width) = self._immediate, group.tokens.shape[1:]
        need = bytes_of(real, width, [(request.form, "size") for request in requests])
        if reason := self.memory.refusal(need, f"one sequence of {real} × {width}"):
            self._collection.fail(requests, layer, "skipped", reason)
            return
        finite = self._collection.finite(layer, requests, group, group.tokens.dtype)
        for index in range(len(finite.numbers)):
            exact = finite.pick([index]).double()
            raw = [request for request in requests if not request.form.startswith("unit")]
            self._block(layer, raw, exact, group.tokens.dtype, real)
            if unit := [request for request in requests if request not in raw]:
                for rest in without_zero_rows(exact, norm(exact.tokens, -1)):
                    self._block(layer, unit, rest, group.tokens.dtype, real)

    def end_of_batch(self) -> None:
        """Evaluate what waited for the last layer."""
        self._deferred.finish()

    def values(self, layer: Layer, found: Mapping[str, Tensor | None], keep: Tensor | None, first: int) -> None:
        """Reduce `value`, `mixed_value` and `first_value`, (batch, heads, tokens, width) each, at a layer."""
        value = found["value"]
        assert value is not None
        heads, tokens, width = value.shape[1:]
        apart = len({id(tensor) for tensor in found.values()})
        each = 8 * 3 * apart * heads * tokens * width  # the cast, and its forms
        if reason := self.memory.refusal(each, f"the values of one sequence, {tokens} × {heads * width}"):
            self.fail("value", layer, "skipped", reason)
            return
        at_once = max(1, (self.memory.total - self.memory.held) // max(1, each))
        reduce_values(self._collection, layer, found, keep, first, self._method, at_once)

    def attention(self, layer: Layer, maps: Maps, keep: Masks, first: int, parameter: str | None = None) -> None:
        """Reduce the attention maps of a layer; `keep` are the masks of its queries and of its keys."""
        each = 4 * maps.bytes_each  # what it is made of, and the mean over heads in float64
        if reason := self.memory.refusal(each, "the attention map of one sequence"):
            self.fail("attention", layer, "skipped", reason, parameter)
            return
        reduce_attention(self._collection, layer, maps, keep, first, parameter)

    def gradient(self, layer: Layer, gradient: Tensor, last_gradient: Tensor, sequences: int = 1) -> None:
        """Reduce ∂L/∂Y(k) (real tokens of the sequences, width), beside that of the last layer of its stack."""
        requests = self._collection.at("gradient")
        for request in requests:
            self._collection.cell(request, layer).sequences = sequences
        for group in map(Group.double, groups(gradient.unsqueeze(0), None)):
            if self._collection.finite(layer, requests, group, gradient.dtype).numbers:
                material = given(gradient=group.tokens, last_gradient=last_gradient.unsqueeze(0).double())
                self._collection.collect(layer, requests, group, gradient.dtype, material)

    def weight_gradients(self, found: list[WeightGradient], sequences: int = 1) -> None:
        """Reduce ∂L/∂W of many weights; the list is emptied, so that each is let go when it is solved."""
        requests = self._collection.at("weight_gradient")
        places: list[tuple[Layer, str, tuple[int, int]]] = []
        matrices: list[Matrix] = []
        for each in found:
            reason = self.memory.refusal(work(each.matrix), f"the gradient of {each.parameter}")
            if reason:
                self.fail("weight_gradient", each.layer, "skipped", reason, each.parameter)
                continue
            for request in requests:
                cell = self._collection.cell(request, each.layer, each.parameter, dtype_of(each.matrix))
                cell.tokens, cell.sequences = each.tokens, sequences
            places.append((each.layer, each.parameter, shape_of(each.matrix)))
            matrices.append(each.matrix)
        found.clear()
        solved = spectra(matrices, self._method, self.memory.total - self.memory.held)
        for (layer, parameter, shape), spectrum in zip(places, solved, strict=True):
            self._weight(layer, parameter, shape, spectrum)

    def _weight(self, layer: Layer, parameter: str, shape: tuple[int, int], found: Found) -> None:
        """Fill the cells of one weight."""
        requests = self._collection.at("weight_gradient")
        cells = [self._collection.cell(request, layer, parameter) for request in requests]
        for cell in cells:
            if found is None:
                cell.samples.append(Sample(0, None, *shape, NOT_FINITE))
            elif isinstance(found, str):
                cell.failure = ("error", found)
        if isinstance(found, Spectrum):
            batch = replace(found, singular_values=found.singular_values[None], error=found.error[None])
            group, dtype = Group(torch.empty(1, *shape, device="meta"), [0]), cells[0].dtype or torch.float32
            self._collection.collect(layer, requests, group, dtype, given(gradient_spectrum=batch), parameter)

    def _block(self, layer: Layer, requests: Sequence[Request], group: Group, dtype: torch.dtype, real: int) -> None:
        """Measure one group, of `real` tokens with the zero ones; each form is computed once."""
        forms: dict[str, Tensor] = {}

        def material(request: Request, _need: str) -> Tensor:
            if request.form not in forms:
                forms[request.form] = in_form(group.tokens, request.form)
            return forms[request.form]

        self._collection.collect(layer, requests, group, dtype, material, real=real)

    def _finish(self) -> None:
        self._deferred.finish()
        self._pooling.finish()
