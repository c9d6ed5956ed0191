"""Deferred: moments of all layers of a forward pass, evaluated together when it is over.

A measure is then called once for all layers, not once a layer; on a GPU nothing is waited for before the last layer.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rankscope.cells import Sample
from rankscope.collection import NOT_FINITE, samples, too_short
from rankscope.measures import evaluate
from rankscope.memory import Memory
from rankscope.moments import OF_GRAMS, bytes_of, moments, solve
from rankscope.records import Spectrum
from rankscope.spectra.engine import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from rankscope.collection import Collection
    from rankscope.groups import Group
    from rankscope.measures import Request
    from rankscope.moments import Moments, Need
    from rankscope.records import Layer
    from rankscope.spectra.engine import Method

LEAST = 4  # tokens from which a mean direction is taken
MOST_WAITING = {"cuda": 1 << 30, "cpu": 32 << 20}
"""Bytes of Gram matrices that may wait for the end of a forward pass, however much memory is allowed."""


@dataclass(slots=True)
class Dominant:
    """The token with the largest norm of a layer, as a multiple of the median norm of its sequence."""

    ratio: float
    sequence: int
    token: int


@dataclass(slots=True)
class Common:
    """The direction γ that the unit tokens of a layer share, over the sequences seen so far.

    `size` sums ‖γ‖², `shares` (width,) sums γ_j²/‖γ‖², the part that feature j carries.
    """

    shares: Tensor
    size: float = 0.0
    sequences: int = 0


@dataclass(frozen=True, slots=True)
class _Piece:
    """Sequences of one layer that are alike: all finite, and of as many tokens once zero ones are left out."""

    layer: Layer
    moments: Moments
    members: list[int]
    numbers: list[int]

    def of(self, tensor: Tensor) -> Tensor:
        """Their part of a tensor that has the batch first."""
        return tensor if len(self.members) == len(tensor) else tensor[self.members]


class Deferred:
    """Takes activations layer by layer, and fills cells once `finish` is called.

    Args:
        collection: where samples go.
        requests: measures of moments.
        method: how spectra are computed.
        memory: the allowance.
    """

    def __init__(
        self, collection: Collection, requests: Sequence[Request], method: Method = "auto", memory: Memory | None = None
    ) -> None:
        self._collection, self._method, self._memory = collection, method, memory or Memory()
        self._requests = list(requests)
        self._wanted = {(request.form, need) for request in requests for need in request.measure.moments or ()}
        self._taken: list[tuple[Layer, Group, torch.dtype, Moments]] = []
        self._bytes = 0
        self.dominant: dict[Layer, Dominant] = {}
        self.common: dict[Layer, Common] = {}

    def add(self, layer: Layer, group: Group, dtype: torch.dtype) -> None:
        """Take the moments of sequences of equal length."""
        for request in self._requests:
            self._collection.cell(request, layer, dtype=dtype)
        wanted = self._affordable(layer, group)
        if self._wanted and not wanted:
            return
        rows, width = group.tokens.shape[1:]
        at_once = max(1, (self._memory.total - self._memory.held) // max(1, bytes_of(rows, width, wanted)))
        found = moments(group.tokens, wanted, self._method, at_once)
        self._taken.append((layer, group.without_tokens(), dtype, found))
        bytes_ = sum(gram.nbytes for gram in found.waiting.values())
        self._bytes += bytes_
        self._memory.held += bytes_
        if self._bytes > self._memory.share(4, MOST_WAITING["cuda" if group.tokens.is_cuda else "cpu"]):
            self.finish()

    def _affordable(self, layer: Layer, group: Group) -> set[Need]:
        """What can be found of these sequences within the allowance; the measures of the rest are skipped."""
        rows, width = group.tokens.shape[1:]
        name = f"one sequence of {rows} × {width}"
        if self._memory.refusal(bytes_of(rows, width, self._wanted), name) is None:
            return self._wanted
        self.finish()  # what waits gives its memory back
        reason = self._memory.refusal(bytes_of(rows, width, self._wanted), name)
        if reason is None:
            return self._wanted
        left = {(form, need) for form, need in self._wanted if need not in OF_GRAMS}
        if self._memory.refusal(bytes_of(rows, width, left), name):
            left = set()
        lost = [r for r in self._requests if any((r.form, need) not in left for need in r.measure.moments or ())]
        self._collection.fail(lost, layer, "skipped", reason)
        return left

    def finish(self) -> None:
        """Solve what waits, evaluate every measure, and let the moments go."""
        taken, self._taken = self._taken, []
        solve([found for *_, found in taken], self._memory.share(8, CHUNK_BYTES))
        self._memory.held -= self._bytes
        self._bytes = 0
        alike: dict[Any, list[_Piece]] = defaultdict(list)
        for layer, group, dtype, found in taken:
            finite, counts = found.finite.tolist(), found.count.tolist()
            self._fail(layer, found, [number for number, ok in zip(group.numbers, finite, strict=True) if not ok])
            good = [member for member, ok in enumerate(finite) if ok]
            if found.rows and good:
                self._note_dominant(layer, found, group, good)
            for unit in (False, True):
                for rows, members in _by_rows(good, counts if unit else None, found.rows):
                    piece = _Piece(layer, found, members, [group.numbers[member] for member in members])
                    alike[unit, rows, found.rows, found.width, dtype].append(piece)
                    if unit:
                        self._note_common(piece, rows)
        for (unit, rows, real, width, _), pieces in alike.items():
            for request in self._requests:
                if request.form.startswith("unit") == unit:
                    self._evaluate(request, pieces, (rows, width), real)

    def _fail(self, layer: Layer, found: Moments, numbers: Sequence[int]) -> None:
        for request in self._requests:
            cell = self._collection.cell(request, layer)
            cell.samples += [Sample(number, None, found.rows, found.width, NOT_FINITE) for number in numbers]

    def _evaluate(self, request: Request, pieces: Sequence[_Piece], shape: tuple[int, int], real: int) -> None:
        cells = [self._collection.cell(request, piece.layer) for piece in pieces]
        if shape[0] < request.measure.min_tokens:
            for cell, piece in zip(cells, pieces, strict=True):
                cell.samples += too_short(request, piece.numbers, shape, real)
            return
        for cell, piece in zip(cells, pieces, strict=True):
            for need in request.measure.moments or ():
                if reason := piece.moments.failed.get((request.form, need)):
                    cell.failure = ("error", reason)
        sound = [(cell, piece) for cell, piece in zip(cells, pieces, strict=True) if cell.failure is None]
        if not sound:
            return
        cells, pieces = [cell for cell, _ in sound], [piece for _, piece in sound]
        try:
            found = _value(request, pieces, shape)
        except Exception as error:
            for cell in cells:
                cell.failure = ("error", f"{type(error).__name__}: {error}")
            return
        numbers = [number for piece in pieces for number in piece.numbers]
        made = iter(samples(numbers, found, shape, request.measure.undefined))
        for cell, piece in zip(cells, pieces, strict=True):
            cell.samples += [next(made) for _ in piece.numbers]

    def _note_dominant(self, layer: Layer, found: Moments, group: Group, good: Sequence[int]) -> None:
        norms = found.norms[good]
        (largest, at), ordered, count = norms.max(dim=1), norms.sort(dim=1).values, norms.shape[1]
        middle = ordered[:, (count - 1) // 2] / 2 + ordered[:, count // 2] / 2
        ratios = (largest / middle).nan_to_num(nan=0.0, posinf=0.0)
        best = int(ratios.argmax())
        ratio = float(ratios[best])
        if layer not in self.dominant or ratio > self.dominant[layer].ratio:
            token, member = int(at[best]), good[best]
            token = token if group.positions is None else int(group.positions[member, token])
            self.dominant[layer] = Dominant(ratio, group.numbers[member], token)

    def _note_common(self, piece: _Piece, rows: int) -> None:
        """Add the mean unit token γ of each sequence; only the share of every feature in ‖γ‖² is kept."""
        if rows < LEAST:
            return
        squares = piece.of(piece.moments.common).square()
        sizes = squares.sum(1)
        sound = torch.isfinite(sizes) & (sizes > 0)
        shares = (squares[sound] / sizes[sound].unsqueeze(1)).sum(0).cpu()
        common = self.common.setdefault(piece.layer, Common(torch.zeros_like(shares)))
        if common.shares.shape == shares.shape:
            common.shares += shares
            common.size += float(sizes[sound].sum())
            common.sequences += int(sound.sum())


def _by_rows(good: Sequence[int], counts: Sequence[int] | None, rows: int) -> Iterator[tuple[int, list[int]]]:
    """Members by how many tokens they have; `counts` are those of all members where zero tokens are left out."""
    alike: dict[int, list[int]] = defaultdict(list)
    for member in good:
        alike[rows if counts is None else counts[member]].append(member)
    yield from sorted(alike.items())


def _value(request: Request, pieces: Sequence[_Piece], shape: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """Values of all sequences of all pieces, and bounds on their errors."""
    measure = request.measure
    needs: dict[str, Tensor | Spectrum] = {}
    for need in measure.moments or ():
        tensor = torch.cat([piece.of(piece.moments.found[request.form, need]) for piece in pieces])
        if need == "spectrum":
            sigma, error = tensor[..., : min(shape)].unbind(1)
            needs[need] = Spectrum(sigma, error, *shape)
        else:
            needs[need] = tensor
    return (measure.of_moments(**needs), None) if measure.of_moments else evaluate(request, **needs)
