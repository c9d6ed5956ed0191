"""Entries: the rows and vectors of one place and measure in all reports become one."""

from __future__ import annotations

import statistics
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from rankscope.collection import Collection
from rankscope.depth import TOO_FEW
from rankscope.errors import UsageError
from rankscope.measures import resolve
from rankscope.memory import Memory
from rankscope.merging.agreement import DTYPES, refused
from rankscope.placing import free_share
from rankscope.pooling import Pooling
from rankscope.records import Row, Vector
from rankscope.spectra import Pooled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.measures import Request
    from rankscope.merging.agreement import Part
    from rankscope.records import Report, Status
    from rankscope.sums import Sums

Entry = TypeVar("Entry", Row, Vector)
Found = dict[tuple[Any, ...], Any]
NO_SAMPLES = "its samples were not kept"
NO_SUMS = "the sums of its pool were not kept: save each report as .safetensors"
OTHER_FORMULA = "it was measured by a version of rankscope, or a plug-in, with another formula"
ONE_LOSS = "a gradient is that of one loss, which no report holds"


def pooled(parts: Sequence[Part]) -> tuple[Found, tuple[Sums, ...]]:
    """What pooled measures are of the merged sums of all reports that have them.

    Args:
        parts: the reports.

    Returns:
        Rows and vectors by key, and the merged sums.

    Raises:
        CannotMeasure: sums do not fit together.
    """
    first = parts[0][1]
    requests = _requests({each.measure for each in (*first.rows, *first.spectra) if each.scope == "pooled"})
    collection = Collection(requests)
    pooling = Pooling(collection, requests, Memory(free_share(torch.device("cpu"))))
    layers = {(layer.stack, layer.index): layer for layer in first.layers}
    kept = [{(s.place.stack, s.place.layer_index, s.place.unit): s for s in report.sums} for _, report in parts]
    for place in kept[0]:
        same = [each[place] for each in kept if place in each]
        if len(same) < len(kept) or place[:2] not in layers:
            continue
        widths = {len(each.origin) for each in same if each.place.count}
        if len(widths) > 1 or {each.place.dtype for each in same} - DTYPES.keys():
            error = refused(f"the sums of layer {place[1]} of {place[0]} are of different widths or no dtype")
            raise error
        for each in same:
            pool = Pooled.of(each.place.count, *map(torch.from_numpy, each.arrays))
            pooling.take(layers[place[:2]], place[2], pool, each.place.sequences, DTYPES[each.place.dtype])
    pooling.finish()
    return {each.key: each for each in (*collection.rows(), *collection.vectors())}, pooling.sums()


def _requests(names: set[str]) -> list[Request]:
    """The pooled requests of measures, without those that are not known here."""
    found: list[Request] = []
    for name in sorted(names):
        try:
            found += [each for each in resolve([f"pooled:{name}"]) if each.name == name]
        except UsageError:
            continue
    return found


def merged_row(same: Sequence[tuple[str, Row]], found: Found) -> Row:
    """The row of all parts.

    Args:
        same: their rows, each with the name of its report.
        found: the pooled ones.

    Returns:
        The row.
    """
    taken, status, reason = _taken(same, found)
    first = taken[0]
    if status == "ok" and first.scope == "pooled":
        row: Row = found[first.key]
        return row
    several = first.scope == "sequence"
    samples = tuple(chain.from_iterable(each.samples or (None,) * each.sequences for each in taken)) if several else ()
    values = [value for value in samples if value is not None] if status == "ok" else []
    return replace(
        first,
        value=statistics.fmean(values) if values else None,
        min=min(values, default=None),
        max=max(values, default=None),
        std=statistics.pstdev(values) if values else None,
        samples=samples if any(value is not None for value in samples) else (),
        error=_largest(taken) if values else None,
        ceiling=_mean(taken, "ceiling") if values else None,
        reference=_mean(taken, "reference") if values else None,
        floor=_mean(taken, "floor") if values else None,
        sequences=sum(each.sequences for each in taken),
        tokens=sum(each.tokens for each in taken),
        status=status,
        reason=reason,
    )


def merged_vector(same: Sequence[tuple[str, Vector]], found: Found, parts: Sequence[Part]) -> Vector:
    """The several numbers of all parts; of one without any, none for each of its sequences.

    Args:
        same: theirs, each with the name of its report.
        found: the pooled ones.
        parts: the reports.

    Returns:
        The numbers.
    """
    taken, status, reason = _taken(same, found)
    first = taken[0]
    if status == "ok" and first.scope == "pooled":
        vector: Vector = found[first.key]
        return vector
    several = (
        each.samples or (None,) * _sequences(report, each)
        for (_, each), (_, report) in zip(same, parts, strict=True)
        if any(each is one for one in taken)
    )
    samples = tuple(chain.from_iterable(several)) if first.scope == "sequence" else ()
    error = _largest(taken) if status == "ok" else None
    return replace(first, samples=samples if any(samples) else (), error=error, status=status, reason=reason)


def _sequences(report: Report, vector: Vector) -> int:
    """Of how many sequences the rows beside it are; a vector does not say."""
    place = (vector.stack, vector.layer_index, vector.site, vector.scope)
    beside = (r.sequences for r in report.rows if (r.stack, r.layer_index, r.site, r.scope) == place)
    count: int = next(beside, report.inputs["sequences"])
    return count


def _taken(same: Sequence[tuple[str, Entry]], found: Found) -> tuple[list[Entry], Status, str | None]:
    """The parts that count, and whether they make a value; else the reasons of those that stand against it."""
    every = [entry for _, entry in same]
    first = every[0]
    if first.scope == "batch":
        return every, "skipped", ONE_LOSS
    bad = [(name, entry) for name, entry in same if entry.status != "ok"]
    if first.scope == "sequence":  # where all of a report are too short, they are left out, as in one run
        bad = [(name, entry) for name, entry in bad if not TOO_FEW.fullmatch(entry.reason or "")]
        every = [entry for entry in every if not TOO_FEW.fullmatch(entry.reason or "")] or every
        if not bad:
            kept = all(entry.samples for entry in every if entry.status == "ok")
            return (every, every[0].status, every[0].reason) if kept else (every, "skipped", NO_SAMPLES)
    elif first.key in found:  # too few tokens, or all zero ones, may be enough with those of the others
        bad = [(name, each) for name, each in bad if each.status != "undefined"]
        if not bad and found[first.key].version == first.version:
            return every, "ok", None
    if bad:
        return every, bad[0][1].status, "; ".join(f"{entry.reason} in {name}" for name, entry in bad)
    has_sums = first.key in found or not _requests({first.measure})
    return every, "skipped", OTHER_FORMULA if has_sums else NO_SUMS


def _largest(taken: Sequence[Row] | Sequence[Vector]) -> float | None:
    return max((each.error for each in taken if each.error is not None), default=None)


def _mean(taken: Sequence[Row], name: str) -> float | None:
    """The mean over sequences, None where one is missing."""
    known = [getattr(each, name) for each in taken]
    return None if None in known else statistics.fmean(known, [each.sequences for each in taken])
