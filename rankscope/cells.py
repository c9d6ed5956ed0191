"""Cells: the samples of one measure at one place, and the row they become."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rankscope.measures import Request, bounds_beside
from rankscope.records import Layer, Row, Scope, Status, Vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from rankscope.measures import Place


MOST_SHAPES = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """The value of one sequence, or the reason why there is none, and the shape it was taken on.

    `short` marks a sequence with too few tokens: it is left out and counted, where another sequence is long enough.
    `vector` is the value of a measure of several numbers; `ceiling` and `reference` stand beside a value where the
    shape alone does not decide them.
    """

    sequence: int
    value: float | None
    rows: int
    width: int
    reason: str | None = None
    error: float | None = None
    short: bool = False
    vector: tuple[float, ...] | None = None
    ceiling: float | None = None
    reference: float | None = None


@dataclass(slots=True)
class Cell:
    """All that is known of one measure at one place: samples over all batches, or a failure for the whole of it.

    `tokens` bounds the rank of the gradient of a weight; `sequences` counts those that one number is over, where it is
    no mean of them: of a pool, and of gradients.
    """

    request: Request
    layer: Layer
    parameter: str | None = None
    dtype: torch.dtype | None = None
    samples: list[Sample] = field(default_factory=list)
    failure: tuple[Status, str] | None = None
    tokens: int | None = None
    sequences: int | None = None
    head: int | None = None

    @property
    def scope(self) -> Scope:
        """Per sequence, pooled, or, of gradients, one number for the batch whose loss they are of."""
        return "batch" if self.request.measure.site.endswith("gradient") else self.request.scope

    def row(self) -> Row:
        """The row of a report.

        A value needs every sequence: one that is non-finite or undefined makes the row undefined, with the count.

        Returns:
            The row.
        """
        taken, status, reason = self._taken()
        values = [sample.value for sample in taken if sample.value is not None] if status == "ok" else []
        several = self.scope == "sequence"
        ceiling, reference, floor = self._beside(taken) if values else (None, None, None)
        return Row(
            **self._key(),
            value=statistics.fmean(values) if values else None,
            min=min(values) if values and several else None,
            max=max(values) if values and several else None,
            std=statistics.pstdev(values) if values and several else None,
            samples=tuple(sample.value for sample in taken)
            if several and any(s.value is not None for s in taken)
            else (),
            error=_largest_error(taken) if values else None,
            ceiling=ceiling,
            reference=reference,
            floor=floor,
            sequences=len(taken) if self.sequences is None else self.sequences,
            tokens=sum(sample.rows for sample in taken) if self.tokens is None else self.tokens,
            status=status,
            reason=reason,
        )

    def vector(self) -> Vector:
        """What a report keeps of a measure of several numbers; undefined under the same rule as a row.

        Returns:
            The numbers of each sequence, or those of the pool.
        """
        taken, status, reason = self._taken()
        samples = tuple(sample.vector for sample in taken)
        return Vector(
            **self._key(),
            samples=samples if any(samples) else (),
            error=_largest_error(taken) if status == "ok" else None,
            status=status,
            reason=reason,
        )

    def compared(self) -> list[Place]:
        """What its value will be compared with.

        Returns:
            The arguments of `bounds_beside`, shape by shape.
        """
        taken, status, _ = self._taken()
        if status != "ok" or self.dtype is None or self.request.measure.beside is not None:
            return []
        shapes = set(_few_shapes([(sample.rows, sample.width) for sample in taken]))
        return [(self.request, *shape, self.dtype, self.tokens) for shape in sorted(shapes)]

    def _key(self) -> dict[str, Any]:
        return {
            "stack": self.layer.stack,
            "layer_index": self.layer.index,
            "layer": self.layer.name,
            "site": self.request.measure.site,
            "scope": self.scope,
            "head": self.head,
            "parameter": self.parameter,
            "measure": self.request.name,
            "version": self.request.measure.version,
        }

    def _taken(self) -> tuple[list[Sample], Status, str | None]:
        """The samples that count, in the order of the sequences, and whether they make a value."""
        long = [sample for sample in self.samples if not sample.short]
        taken = sorted(long or self.samples, key=lambda sample: sample.sequence)
        return (taken, *(self.failure or _status(taken)))

    def _beside(self, taken: Sequence[Sample]) -> tuple[float | None, float | None, float | None]:
        """Ceiling, reference and floor, averaged over the sequences as the value is."""
        if self.request.measure.beside is not None:
            return _mean([sample.ceiling for sample in taken]), _mean([sample.reference for sample in taken]), None
        assert self.dtype is not None
        shapes = _few_shapes([(sample.rows, sample.width) for sample in taken])
        found = {shape: bounds_beside(self.request, *shape, self.dtype, self.tokens) for shape in set(shapes)}
        means = [_mean([found[shape][index] for shape in shapes]) for index in range(3)]
        return means[0], means[1], means[2]


def sample(
    number: int,
    value: float | list[float],
    shape: tuple[int, int],
    undefined: str,
    error: float | list[float] | None = None,
    ceiling: float | None = None,
    reference: float | None = None,
) -> Sample:
    """A sample of a computed value; NaN and infinity become the reason why the measure is undefined.

    Args:
        number: of the sequence.
        value: a number, or the numbers of a vector.
        shape: tokens and width.
        undefined: the reason, should it be needed.
        error: bounds, as many as there are numbers.
        ceiling: the most it can be.
        reference: what to compare it with.

    Returns:
        The sample.

    Example:
        >>> sample(0, math.nan, (5, 3), "all tokens are zero").reason
        'all tokens are zero'
    """
    numbers = value if isinstance(value, list) else [value]
    if not all(math.isfinite(each) for each in numbers):
        return Sample(number, None, *shape, reason=undefined)
    bound = max(error, default=None) if isinstance(error, list) else error
    vector, one = (tuple(value), None) if isinstance(value, list) else (None, value)
    return Sample(number, one, *shape, None, bound, vector=vector, ceiling=ceiling, reference=reference)


def _few_shapes(shapes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The shapes, in order of length; where too many differ, each of a run of near ones becomes the middle one."""
    # What stands beside a value is drawn and solved for every shape, and varies smoothly with the length.
    ordered = sorted(shapes)
    if len(set(ordered)) <= MOST_SHAPES:
        return ordered
    cuts = [len(ordered) * i // MOST_SHAPES for i in range(MOST_SHAPES + 1)]
    return [ordered[(start + end) // 2] for start, end in pairwise(cuts) for _ in range(start, end)]


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, None where one is missing."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _largest_error(taken: Sequence[Sample]) -> float | None:
    return max((sample.error for sample in taken if sample.error is not None), default=None)


def _status(taken: Sequence[Sample]) -> tuple[Status, str | None]:
    if not taken:
        return "undefined", "no sequence was measured"
    reasons = Counter(sample.reason for sample in taken if sample.reason is not None)
    if not reasons:
        return "ok", None
    if sum(reasons.values()) == len(taken) and len(reasons) == 1:
        return "undefined", next(iter(reasons))
    parts = [f"{reason} in {count} of {len(taken)} sequences" for reason, count in reasons.items()]
    return "undefined", "; ".join(parts)
