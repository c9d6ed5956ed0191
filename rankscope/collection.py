"""Collection: the cells of a run, filled by evaluating measures on groups of sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from rankscope.cells import Cell, Sample, sample
from rankscope.measures import draw, evaluate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rankscope.groups import Group
    from rankscope.measures import Request
    from rankscope.records import Layer, Row, Site, Status, Vector

    Material = Callable[[Request, str], Any]

NOT_FINITE = "non-finite values"
ONE = (None,)  # all heads together


class Collection:
    """One cell a request, layer, parameter and head; a request that fails costs its own cells, not the report.

    Args:
        requests: the measures asked for.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests: dict[str, list[Request]] = {}
        for request in requests:
            self._requests.setdefault(request.measure.site, []).append(request)
        self.cells: dict[tuple[Any, ...], Cell] = {}
        self._failures: dict[tuple[Any, ...], tuple[Status, str]] = {}

    def at(self, site: Site) -> list[Request]:
        """The requests of a site."""
        return self._requests.get(site, [])

    def rows(self) -> tuple[Row, ...]:
        """The rows of all cells that hold one number a sequence, in the order in which places were seen."""
        cells = [cell for cell in self._shown() if not cell.request.measure.vector]
        draw(place for cell in cells for place in cell.compared())
        return tuple(cell.row() for cell in cells)

    def vectors(self) -> tuple[Vector, ...]:
        """The others: several numbers a sequence."""
        return tuple(cell.vector() for cell in self._shown() if cell.request.measure.vector)

    def _shown(self) -> Iterator[Cell]:
        """The cells that make a row: a failure of heads whose number is unknown stands for all heads, unless told."""
        seen = {key[:4] for key, cell in self.cells.items() if cell.head is not None}
        for key, cell in sorted(self.cells.items(), key=lambda item: item[1].scope == "batch"):  # gradients come last
            together = replace(cell.request, per_head=False)
            told = key[:4] in seen or together in self.at(together.measure.site)
            if not cell.request.per_head or cell.head is not None or not told:
                yield cell

    def cell(
        self,
        request: Request,
        layer: Layer,
        parameter: str | None = None,
        dtype: torch.dtype | None = None,
        head: int | None = None,
    ) -> Cell:
        """The cell of a request at a place."""
        place = (layer.stack, layer.index, request, parameter)
        new = Cell(request, layer, parameter, head=head, failure=self._failures.get(place))
        cell = self.cells.setdefault((*place, head), new)
        cell.dtype = cell.dtype or dtype
        return cell

    def fail(
        self,
        requests: Sequence[Request],
        layer: Layer,
        status: Status,
        reason: str,
        parameter: str | None = None,
        heads: Sequence[int] = (),
    ) -> None:
        """Say why requests could not be had at a layer: of the heads given, and of all others before and after."""
        for request in requests:
            place = (layer.stack, layer.index, request, parameter)
            self._failures[place] = (status, reason)
            for head in (heads if request.per_head else ()) or ONE:
                self.cell(request, layer, parameter, head=head)
            for key, cell in self.cells.items():
                if key[:4] == place:
                    cell.failure = (status, reason)

    def finite(
        self,
        layer: Layer,
        requests: Sequence[Request],
        group: Group,
        dtype: torch.dtype,
        parameter: str | None = None,
        heads: Sequence[int] = (),
    ) -> Group:
        """The sequences without NaN and infinity; for the others a sample with the reason."""
        finite = torch.isfinite(group.tokens.flatten(1).sum(1))  # one pass; the entries are looked at only in doubt
        if not bool(finite.all()):
            finite = torch.isfinite(group.tokens).flatten(1).all(1)
        rows, width = group.tokens.shape[1:]
        bad = [number for number, ok in zip(group.numbers, finite.tolist(), strict=True) if not ok]
        for request in requests:
            for head in heads if request.per_head else ONE:
                cell = self.cell(request, layer, parameter, dtype, head)
                cell.samples += [Sample(number, None, rows, width, NOT_FINITE) for number in bad]
        return group.pick([index for index, ok in enumerate(finite.tolist()) if ok])

    def collect(
        self,
        layer: Layer,
        requests: Sequence[Request],
        group: Group,
        dtype: torch.dtype,
        material: Material,
        parameter: str | None = None,
        heads: Sequence[int] = (),
        real: int | None = None,
    ) -> None:
        """Evaluate each request on a group of finite sequences.

        Args:
            layer: where.
            requests: what.
            group: the sequences; their shape and numbers.
            dtype: the dtype that the model computed in.
            material: gives what a request needs, by name; of a request for each head with the heads after the batch.
            parameter: of the layer, where there are several.
            heads: the numbers of those heads.
            real: the tokens of a sequence, where zero ones were left out of the group.
        """
        rows, width = group.tokens.shape[1:]
        for request in requests:
            measure = request.measure
            cells = [self.cell(request, layer, parameter, dtype, head) for head in (heads if request.per_head else ONE)]
            if rows < measure.min_tokens:
                for cell in cells:
                    cell.samples += too_short(request, group.numbers, (rows, width), real)
                continue
            try:
                needs = {need: material(request, need) for need in measure.needs}
                values, errors = evaluate(request, **needs)
                beside = measure.beside(**needs) if measure.beside else ()
            except Exception as error:
                for cell in cells:
                    cell.failure = ("error", f"{type(error).__name__}: {error}")
                continue
            for index, cell in enumerate(cells):
                of_head = [
                    tensor if tensor is None or not request.per_head else tensor[:, index]
                    for tensor in (values, errors, *beside)
                ]
                cell.samples += samples(group.numbers, of_head, (rows, width), measure.undefined)


def too_short(request: Request, numbers: Sequence[int], shape: tuple[int, int], real: int | None) -> list[Sample]:
    """Samples that say why there is no number: too few tokens.

    Args:
        request: what was asked for.
        numbers: of the sequences.
        shape: rows and width of what is left of each.
        real: their tokens, where zero ones were left out.

    Returns:
        One sample a sequence.
    """
    least = request.measure.min_tokens
    short = (real or shape[0]) < least  # zero tokens are a finding, and cost the row its value
    reason = f"fewer than {least} {'' if short else 'non-zero '}tokens"
    return [Sample(number, None, *shape, reason, short=short) for number in numbers]


def samples(
    numbers: Sequence[int], found: Sequence[torch.Tensor | None], shape: tuple[int, int], undefined: str
) -> list[Sample]:
    """One sample a sequence.

    Args:
        numbers: of the sequences.
        found: values, error bounds, ceilings and references, (batch) or, of vectors, (batch, n); None where there are
            none.
        shape: tokens and width.
        undefined: the reason, should a value be NaN.

    Returns:
        The samples.
    """
    columns: list[list[Any]] = [[None] * len(numbers) if tensor is None else tensor.tolist() for tensor in found]
    return [
        sample(number, value, shape, undefined, *others)
        for number, value, *others in zip(numbers, *columns, strict=True)
    ]


def given(**needs: Any) -> Material:
    """Needs that are at hand and the same for every request.

    Args:
        **needs: what a measure may ask for, by name.

    Returns:
        The material for `collect`.
    """
    return lambda _request, need: needs[need]
