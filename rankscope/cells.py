"""Cells: the samples of one measure at one place, and the row they become."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rankscope.measures import Request, bounds_beside
from rankscope.records import Layer, Row, Scope, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


@dataclass(frozen=True, slots=True)
class Sample:
    """The value of one sequence, or the reason why there is none, and the shape it was taken on.

    `short` marks a sequence with too few tokens: it is left out and counted, where another sequence is long enough.
    """

    sequence: int
    value: float | None
    rows: int
    width: int
    reason: str | None = None
    error: float | None = None
    short: bool = False


@dataclass(slots=True)
class Cell:
    """All that is known of one measure at one place: samples over all batches, or a failure for the whole of it.

    `tokens` bounds the rank of the gradient of a weight.
    """

    request: Request
    layer: Layer
    parameter: str | None = None
    dtype: torch.dtype | None = None
    samples: list[Sample] = field(default_factory=list)
    failure: tuple[Status, str] | None = None
    tokens: int | None = None

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
        long = [sample for sample in self.samples if not sample.short]
        taken = sorted(long or self.samples, key=lambda sample: sample.sequence)
        status, reason = self.failure or _status(taken)
        values = [sample.value for sample in taken if sample.value is not None] if status == "ok" else []
        several = self.scope == "sequence"
        errors = [sample.error for sample in taken if sample.error is not None] if values else []
        ceiling, reference, floor = self._beside(taken) if values else (None, None, None)
        return Row(
            stack=self.layer.stack,
            layer_index=self.layer.index,
            layer=self.layer.name,
            site=self.request.measure.site,
            scope=self.scope,
            head=None,
            parameter=self.parameter,
            measure=self.request.name,
            version=self.request.measure.version,
            value=statistics.fmean(values) if values else None,
            min=min(values) if values and several else None,
            max=max(values) if values and several else None,
            std=statistics.pstdev(values) if values and several else None,
            samples=tuple(sample.value for sample in taken)
            if several and any(s.value is not None for s in taken)
            else (),
            error=max(errors) if errors else None,
            ceiling=ceiling,
            reference=reference,
            floor=floor,
            sequences=len(taken),
            tokens=sum(sample.rows for sample in taken) if self.tokens is None else self.tokens,
            status=status,
            reason=reason,
        )

    def _beside(self, taken: Sequence[Sample]) -> tuple[float | None, float | None, float | None]:
        """Ceiling, Gaussian reference and floor, averaged over the sequences as the value is."""
        assert self.dtype is not None
        shapes = Counter((sample.rows, sample.width) for sample in taken)
        found = {shape: bounds_beside(self.request, *shape, self.dtype, self.tokens) for shape in shapes}
        means = []
        for index in range(3):
            terms = [(found[shape][index], count) for shape, count in shapes.items()]
            missing = any(term is None for term, _ in terms)
            means.append(None if missing else sum((term or 0.0) * n for term, n in terms) / len(taken))
        return means[0], means[1], means[2]


def sample(number: int, value: float, shape: Sequence[int], undefined: str, error: float | None = None) -> Sample:
    """A sample of a computed value; NaN and infinity become the reason why the measure is undefined."""
    if math.isfinite(value):
        return Sample(number, value, shape[-2], shape[-1], error=error)
    return Sample(number, None, shape[-2], shape[-1], reason=undefined)


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
