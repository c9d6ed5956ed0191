"""Reduction: activations go in, inside the hook; one number a sequence and measure stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from rankscope.attending import reduce_attention, reduce_values
from rankscope.cells import Sample, sample
from rankscope.collection import NOT_FINITE, Collection, given
from rankscope.deferred import Deferred
from rankscope.groups import CHUNK_BYTES, Group, groups, without_zero_rows
from rankscope.measures import Request, evaluate, in_form, norm
from rankscope.memory import Memory
from rankscope.records import Spectrum
from rankscope.spectra import Pooled
from rankscope.spectra.several import dtype_of, shape_of, spectra, work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from rankscope.attending import Maps, Masks
    from rankscope.deferred import Common, Dominant
    from rankscope.records import Layer, Row, Site, Status, Vector
    from rankscope.spectra.engine import Method
    from rankscope.spectra.several import Found, Matrix


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
        self._pools: dict[tuple[Layer, str], Pooled] = {}
        block = self._collection.at("block")
        self._immediate = [r for r in block if r.scope == "pooled" or r.measure.moments is None]
        self._deferred = Deferred(self._collection, [r for r in block if r not in self._immediate], method, self.memory)

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

    def fail(self, site: Site, layer: Layer, status: Status, reason: str, parameter: str | None = None) -> None:
        """Say why the measures of a site could not be had at a layer."""
        self._collection.fail(self._collection.at(site), layer, status, reason, parameter)

    def activation(self, layer: Layer, tokens: Tensor, keep: Tensor | None, first: int) -> None:
        """Reduce one activation (batch, tokens, width); `first` is the number of its first sequence in the run."""
        for group in groups(tokens, keep, first, self.memory.share(16, CHUNK_BYTES)):  # and the forms made of it
            self._deferred.add(layer, group, tokens.dtype)
            if self._immediate:
                self._with_tokens(layer, self._collection.finite(layer, self._immediate, group, tokens.dtype))

    def _with_tokens(self, layer: Layer, group: Group) -> None:
        """Evaluate what takes the tokens themselves."""
        if not group.numbers:
            return
        exact, real = group.double(), group.tokens.shape[1]
        self._block(
            layer, [r for r in self._immediate if not r.form.startswith("unit")], exact, group.tokens.dtype, real
        )
        unit = [request for request in self._immediate if request.form.startswith("unit")]
        if unit:
            for rest in without_zero_rows(exact, norm(exact.tokens, -1)):
                self._block(layer, unit, rest, group.tokens.dtype, real)

    def end_of_batch(self) -> None:
        """Evaluate what waited for the last layer."""
        self._deferred.finish()

    def values(self, layer: Layer, found: Mapping[str, Tensor | None], keep: Tensor | None, first: int) -> None:
        """Reduce `value`, `mixed_value` and `first_value`, (batch, heads, tokens, width) each, at a layer."""
        reduce_values(self._collection, layer, found, keep, first, self._method)

    def attention(self, layer: Layer, maps: Maps, keep: Masks, first: int, parameter: str | None = None) -> None:
        """Reduce the attention maps of a layer; `keep` are the masks of its queries and of its keys."""
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

        pooled = [request for request in requests if request.scope == "pooled"]
        if pooled:
            name = _pool_form(pooled[0])
            pool = self._pools.setdefault((layer, name), Pooled())
            pool.add(in_form(group.tokens, name).flatten(0, 1))
        for request in pooled:
            cell = self._collection.cell(request, layer, dtype=dtype)
            cell.samples += [Sample(n, 0.0, group.tokens.shape[1], group.tokens.shape[2]) for n in group.numbers]
        in_sequence = [request for request in requests if request.scope == "sequence"]
        self._collection.collect(layer, in_sequence, group, dtype, material, real=real)

    def _finish(self) -> None:
        """Turn the samples of pooled cells, which only say what went into a pool, into the one value of the pool."""
        self._deferred.finish()
        pools, self._pools = self._pools, {}
        solved: dict[tuple[Layer, str], Spectrum] = {}
        for cell in self._collection.cells.values():
            form, pool = cell.request.form, pools.get((cell.layer, _pool_form(cell.request)))
            if cell.request.scope != "pooled" or pool is None or cell.failure or any(s.reason for s in cell.samples):
                continue
            cell.sequences, measure = len(cell.samples), cell.request.measure
            if pool.count < measure.min_tokens:
                few = f"fewer than {measure.min_tokens} {'non-zero ' if form.startswith('unit') else ''}tokens"
                cell.samples = [Sample(0, None, pool.count, cell.samples[0].width, few)]
                continue
            try:
                if (cell.layer, form) not in solved:
                    solved[cell.layer, form] = pool.spectrum(centered=form.endswith("centered"))
                found = solved[cell.layer, form]
                values, errors = evaluate(cell.request, spectrum=found)
            except Exception as error:
                cell.failure = ("error", f"{type(error).__name__}: {error}")
                continue
            bound = None if errors is None else errors.tolist()
            shape = (found.rows, found.width)
            cell.samples = [sample(0, values.tolist(), shape, measure.undefined, bound)]


def _pool_form(request: Request) -> Literal["raw", "unit"]:
    return "unit" if request.form.startswith("unit") else "raw"
