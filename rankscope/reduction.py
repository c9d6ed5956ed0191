"""Reduction: activations go in, inside the hook; one number a sequence and measure stays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from rankscope.cells import Cell, Sample, sample
from rankscope.measures import Request, evaluate, in_form
from rankscope.spectra import Pooled, spectrum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from rankscope.records import Layer, Row, Site, Spectrum, Status

CHUNK_BYTES = 256 * 2**20  # one activation is taken to float64 for this many bytes of sequences at a time
NOT_FINITE = "non-finite values"


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences of equal length: `tokens` (batch, tokens, width) float64, their numbers in the run.

    `positions` (batch, tokens) are the places of the tokens in their padded sequences, None where nothing was padded.
    """

    tokens: Tensor
    numbers: list[int]
    positions: Tensor | None = None

    def pick(self, indices: list[int]) -> Group:
        """Some of the sequences."""
        if len(indices) == len(self.numbers):
            return self
        positions = None if self.positions is None else self.positions[indices]
        return Group(self.tokens[indices], [self.numbers[i] for i in indices], positions)


def groups(tokens: Tensor, keep: Tensor | None, first: int = 0) -> Iterator[Group]:
    """Sequences of a batch by their number of real tokens, in chunks of bounded memory.

    Args:
        tokens: (batch, tokens, width).
        keep: (batch, tokens), true at real tokens; None where all are.
        first: the number of the first sequence in the run.

    Yields:
        Groups in float64, padding left out.

    Example:
        >>> keep = torch.tensor([[True, True, False], [True, True, True]])
        >>> [tuple(group.tokens.shape) for group in groups(torch.zeros(2, 3, 5), keep)]
        [(1, 2, 5), (1, 3, 5)]
    """
    if tokens.device.type == "mps":  # has no float64
        tokens = tokens.cpu()
    lengths = torch.full((len(tokens),), tokens.shape[1]) if keep is None else keep.sum(1).cpu()
    whole = max(1, CHUNK_BYTES // max(1, 8 * tokens.shape[1] * tokens.shape[2]))
    for length in sorted(set(lengths.tolist())):
        members = (lengths == length).nonzero().flatten().tolist()
        for start in range(0, len(members), whole):
            part = members[start : start + whole]
            numbers = [first + member for member in part]
            if keep is None or length == tokens.shape[1]:
                yield Group(tokens[part].double(), numbers)
            else:
                positions = torch.stack([keep[i].nonzero().flatten() for i in part]).to(tokens.device)
                rows = torch.stack([tokens[i][at] for i, at in zip(part, positions, strict=True)])
                yield Group(rows.double(), numbers, positions)


@dataclass(slots=True)
class Dominant:
    """The token with the largest norm of a layer, as a multiple of the median norm of its sequence."""

    ratio: float
    sequence: int
    token: int


class Reduction:
    """Collects samples over layers and batches; `rows` gives the rows of a report.

    Args:
        requests: the measures asked for.
        method: how spectra are computed: ``auto``, ``gram64`` or ``svd``.
    """

    def __init__(self, requests: Sequence[Request], method: str = "auto") -> None:
        self._method = cast("Any", method)
        self._requests: dict[str, list[Request]] = {}
        for request in requests:
            self._requests.setdefault(request.measure.site, []).append(request)
        self._cells: dict[tuple[Any, ...], Cell] = {}
        self._pools: dict[tuple[Layer, str], Pooled] = {}
        self.dominant: dict[Layer, Dominant] = {}

    def wants(self, site: Site) -> bool:
        """Whether any measure of a site was asked for."""
        return site in self._requests

    @property
    def min_tokens(self) -> int:
        """The fewest tokens with which some measure of a block's output means anything."""
        return min((request.measure.min_tokens for request in self._requests.get("block", ())), default=0)

    def rows(self) -> tuple[Row, ...]:
        """The rows of all cells, in the order in which places were seen."""
        solved: dict[tuple[Layer, str], Spectrum] = {}
        for cell in self._cells.values():
            if cell.request.scope == "pooled":
                self._finish(cell, solved)
        return tuple(cell.row() for cell in self._cells.values())

    def fail(self, site: Site, layer: Layer, status: Status, reason: str, parameter: str | None = None) -> None:
        """Say why the measures of a site could not be had at a layer."""
        for request in self._requests.get(site, ()):
            self._cell(request, layer, parameter).failure = (status, reason)

    def activation(self, layer: Layer, tokens: Tensor, keep: Tensor | None, first: int) -> None:
        """Reduce one activation (batch, tokens, width); `first` is the number of its first sequence in the run."""
        requests = self._requests.get("block", [])
        for group in groups(tokens, keep, first):
            finite = self._finite(layer, requests, group, tokens.dtype)
            if not finite.numbers:
                continue
            norms = finite.tokens.norm(dim=-1)
            self._note_dominant(layer, norms, finite)
            self._block(layer, [r for r in requests if not r.form.startswith("unit")], finite, tokens.dtype)
            if unit := [r for r in requests if r.form.startswith("unit")]:
                for nonzero in _without_zero_rows(finite, norms):
                    self._block(layer, unit, nonzero, tokens.dtype)

    def values(self, layer: Layer, values: Tensor, first_values: Tensor, keep: Tensor | None, first: int) -> None:
        """Reduce the values (batch, tokens, width) that enter attention at a layer beside those of layer 1."""
        if values.shape != first_values.shape:
            here, there = tuple(values.shape[1:]), tuple(first_values.shape[1:])
            self.fail("value", layer, "undefined", f"the values are {here}, those of layer 1 {there}")
            return
        requests = self._requests.get("value", [])
        for group in groups(torch.cat([values, first_values], dim=-1), keep, first):
            both = self._finite(layer, requests, group, values.dtype)
            if both.numbers:
                value, first_value = both.tokens.chunk(2, dim=-1)
                given = _given(value=value, first_value=first_value)
                self._collect(layer, requests, Group(value, both.numbers), values.dtype, given)

    def gradient(self, layer: Layer, gradient: Tensor, last_gradient: Tensor, keep: Tensor | None) -> None:
        """Reduce ∂L/∂Y(k) (batch, tokens, width) over all real tokens, beside that of the last layer."""

        def real(tensor: Tensor) -> Tensor:
            return (tensor.flatten(0, 1) if keep is None else tensor[keep]).unsqueeze(0)

        requests = self._requests.get("gradient", [])
        for group in groups(real(gradient), None):
            if self._finite(layer, requests, group, gradient.dtype).numbers:
                given = _given(gradient=group.tokens, last_gradient=real(last_gradient).double())
                self._collect(layer, requests, group, gradient.dtype, given)

    def weight_gradient(self, layer: Layer, parameter: str, gradient: Tensor, tokens: int) -> None:
        """Reduce ∂L/∂W of one weight, its axes after the first taken together; its rank is at most `tokens`."""
        requests = self._requests.get("weight_gradient", [])
        for group in groups(gradient.flatten(1).unsqueeze(0), None):
            finite = self._finite(layer, requests, group, gradient.dtype, parameter)
            for request in requests:
                self._cell(request, layer, parameter).tokens = tokens
            if finite.numbers:
                solve = cache(partial(spectrum, finite.tokens, method=self._method, source_dtype=gradient.dtype))
                material = partial(_solved, solve)
                self._collect(layer, requests, finite, gradient.dtype, material, parameter)

    def _cell(
        self, request: Request, layer: Layer, parameter: str | None = None, dtype: torch.dtype | None = None
    ) -> Cell:
        key = (layer.stack, layer.index, request, parameter)
        cell = self._cells.setdefault(key, Cell(request, layer, parameter))
        cell.dtype = cell.dtype or dtype
        return cell

    def _finite(
        self, layer: Layer, requests: Sequence[Request], group: Group, dtype: torch.dtype, parameter: str | None = None
    ) -> Group:
        """The sequences without NaN and infinity; for the others a sample with the reason."""
        finite = torch.isfinite(group.tokens).flatten(1).all(1).tolist()
        rows, width = group.tokens.shape[1:]
        for request in requests:
            bad = [number for number, ok in zip(group.numbers, finite, strict=True) if not ok]
            samples = [Sample(number, None, rows, width, NOT_FINITE) for number in bad]
            self._cell(request, layer, parameter, dtype).samples += samples
        return group.pick([index for index, ok in enumerate(finite) if ok])

    def _block(self, layer: Layer, requests: Sequence[Request], group: Group, dtype: torch.dtype) -> None:
        """Measure one group; each form and each spectrum is computed once."""
        forms: dict[str, Tensor] = {}
        spectra: dict[str, Any] = {}

        def material(request: Request, need: str) -> Any:
            if request.form not in forms:
                forms[request.form] = in_form(group.tokens, request.form)
            if need == "tokens":
                return forms[request.form]
            if request.form not in spectra:
                spectra[request.form] = spectrum(forms[request.form], method=self._method, source_dtype=dtype)
            return spectra[request.form]

        pooled = [request for request in requests if request.scope == "pooled"]
        if pooled:
            name = _pool_form(pooled[0])
            pool = self._pools.setdefault((layer, name), Pooled())
            pool.add(in_form(group.tokens, name).flatten(0, 1))
        for request in pooled:
            cell = self._cell(request, layer, dtype=dtype)
            cell.samples += [Sample(n, 0.0, group.tokens.shape[1], group.tokens.shape[2]) for n in group.numbers]
        self._collect(layer, [r for r in requests if r.scope == "sequence"], group, dtype, material)

    def _collect(
        self,
        layer: Layer,
        requests: Sequence[Request],
        group: Group,
        dtype: torch.dtype,
        material: Callable[[Request, str], Any],
        parameter: str | None = None,
    ) -> None:
        """Evaluate each request on a group of finite sequences."""
        rows, width = shape = tuple(group.tokens.shape[1:])
        for request in requests:
            measure, cell = request.measure, self._cell(request, layer, parameter, dtype)
            if rows < measure.min_tokens:
                reason = f"fewer than {measure.min_tokens} tokens"
                cell.samples += [Sample(number, None, rows, width, reason, short=True) for number in group.numbers]
                continue
            try:
                values, errors = evaluate(request, **{need: material(request, need) for need in measure.needs})
            except Exception as error:
                cell.failure = ("error", f"{type(error).__name__}: {error}")
                continue
            bounds = [None] * len(values) if errors is None else errors.tolist()
            taken = zip(group.numbers, values.tolist(), bounds, strict=True)
            cell.samples += [sample(number, value, shape, measure.undefined, bound) for number, value, bound in taken]

    def _finish(self, cell: Cell, solved: dict[tuple[Layer, str], Spectrum]) -> None:
        """Turn the samples of a pooled cell, which only say what went into the pool, into the one value of the pool."""
        form = cell.request.form
        pool = self._pools.get((cell.layer, _pool_form(cell.request)))
        if pool is None or cell.failure or any(part.reason for part in cell.samples):
            return
        if (cell.layer, form) not in solved:
            solved[cell.layer, form] = pool.spectrum(centered=form.endswith("centered"))
        found = solved[cell.layer, form]
        values, errors = evaluate(cell.request, spectrum=found)
        bound = None if errors is None else float(errors)
        cell.samples = [sample(0, float(values), (found.rows, found.width), cell.request.measure.undefined, bound)]

    def _note_dominant(self, layer: Layer, norms: Tensor, group: Group) -> None:
        largest, at = norms.max(dim=1)
        ratios = (largest / norms.median(dim=1).values).nan_to_num(nan=0.0, posinf=0.0)
        best = int(ratios.argmax())
        ratio = float(ratios[best])
        if layer not in self.dominant or ratio > self.dominant[layer].ratio:
            token = int(at[best]) if group.positions is None else int(group.positions[best, at[best]])
            self.dominant[layer] = Dominant(ratio, group.numbers[best], token)


def _given(**needs: Any) -> Callable[[Request, str], Any]:
    """Needs that are at hand and the same for every request."""
    return lambda _request, need: needs[need]


def _solved(solve: Callable[[], Spectrum], _request: Request, _need: str) -> Spectrum:
    """A spectrum that is solved where it is first asked for, so that a failure is that of the rows that asked."""
    return solve()


def _without_zero_rows(group: Group, norms: Tensor) -> Iterator[Group]:
    """Sequences by their number of non-zero rows, the zero rows left out."""
    counts = (norms > 0).sum(1)
    for count in sorted(set(counts.tolist())):
        members = (counts == count).nonzero().flatten().tolist()
        if count == group.tokens.shape[1]:
            yield group.pick(members)
        else:
            rows = torch.stack([group.tokens[i][norms[i] > 0] for i in members])
            yield Group(rows, [group.numbers[i] for i in members])


def _pool_form(request: Request) -> Literal["raw", "unit"]:
    return "unit" if request.form.startswith("unit") else "raw"
