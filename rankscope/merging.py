"""Merging: the reports of several runs of one model over parts of the inputs become the report of one run over all."""

from __future__ import annotations

import hashlib
import re
import statistics
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from rankscope._version import __version__
from rankscope.collection import NOT_FINITE, Collection
from rankscope.depth import verdicts
from rankscope.errors import CannotMeasure
from rankscope.measures import resolve
from rankscope.memory import Memory
from rankscope.placing import free_share
from rankscope.plain import now
from rankscope.pooling import Pooling
from rankscope.records import Report, Row, Vector
from rankscope.saved import load
from rankscope.spectra import Pooled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from rankscope.records import Note, Status
    from rankscope.sums import Sums

Entry = TypeVar("Entry", Row, Vector)
Found = dict[tuple[Any, ...], Any]
TOO_FEW = re.compile(r"fewer than \d+ tokens")
"""What a row says where all sequences of its report are too short: they are left out, as in one run."""
NO_SUMS = "the sums of its pool were not kept: save each report as .safetensors"
OTHER_FORMULA = "it was measured by a version of rankscope with another formula"
ONE_LOSS = "a gradient is that of one loss, which no report holds"


def merge(*reports: Report | str | Path) -> Report:
    """One report of several runs of one model over parts of the inputs; the twin of ``rankscope report --merge``.

    It is what one run over all the inputs would have given: samples follow each other in the order of the reports, and
    the spectra of pools are made of their merged sums (Chan, Golub & LeVeque 1983), which `probe` keeps with
    ``keep_sums=True``. Measures of a gradient are those of one loss, and are not merged.

    Args:
        *reports: reports, or files that `Report.save` wrote as JSON or safetensors.

    Returns:
        The report, its depth judged anew; with the sums, where all of the reports hold them.

    Raises:
        TypeError: there is no report.
        CannotMeasure: the reports are of different models, layers or measures, or two are of the same inputs.

    Example:
        >>> import rankscope
        >>> net, x = torch.nn.Linear(4, 4), torch.randn(6, 8, 4)
        >>> options = {"measures": ["mu", "pooled:effective_rank"], "device": "cpu"}
        >>> merged = merge(*[rankscope.probe(net, part, keep_sums=True, **options) for part in (x[:2], x[2:])])
        >>> whole = rankscope.probe(net, x, **options)
        >>> [round(row.value, 9) for row in merged.rows] == [round(row.value, 9) for row in whole.rows]
        True
    """
    parts = [each if isinstance(each, Report) else load(each) for each in reports]
    if not parts:
        raise TypeError("expected at least one report")
    if len(parts) == 1:
        return parts[0]
    _check(parts)
    first, dtype = parts[0], _dtype(parts[0])
    found, sums = _pooled(parts, dtype)
    rows = tuple(_row(same, found) for same in zip(*(part.rows for part in parts), strict=True))
    depth, told = verdicts(rows, torch.finfo(dtype).eps)
    return replace(
        first,
        layers=tuple(
            replace(layer, shape=max(layer.shape, *(part.layers[place].shape for part in parts)))
            for place, layer in enumerate(first.layers)
        ),
        rows=rows,
        spectra=tuple(_vector(same, found) for same in zip(*(part.spectra for part in parts), strict=True)),
        inputs=_inputs(parts),
        depth=depth,
        coverage=replace(first.coverage, skipped={k: v for part in parts for k, v in part.coverage.skipped.items()}),
        notes=(*_notes(parts, torch.finfo(dtype).eps), *told),
        created=now(),
        rankscope=__version__,
        sums=sums,
    )


def _model(report: Report) -> list[Any]:
    """What tells a model from others; of one that came from no file, what was typed."""
    facts = report.model
    return [facts.get("sha256") or facts.get("spec"), *(facts.get(key) for key in ("class", "parameters", "edits"))]


SAME: dict[str, Callable[[Report], Any]] = {
    "another model": _model,
    "another dtype": lambda report: report.environment.get("dtype"),
    "another way to spectra": lambda report: report.environment.get("spectra"),
    "other layers": lambda report: [(layer.stack, layer.index, layer.name) for layer in report.layers],
    "other measures": lambda report: [(each.key, each.version) for each in (*report.rows, *report.spectra)],
}
"""What reports have to agree in, by what is said where they do not."""


def _check(parts: Sequence[Report]) -> None:
    """Refuse reports that no one run could have given."""
    for number, part in enumerate(parts[1:], 2):
        for what, of in SAME.items():
            if of(part) != of(parts[0]):
                raise _refused(f"report {number} is of {what} than report 1")
    seen: dict[Any, int] = {}
    for number, part in enumerate(parts, 1):
        given, counts = part.inputs.get("sha256"), [part.inputs.get(name) for name in ("sequences", "tokens")]
        lengths = part.inputs.get("lengths")
        if not (_numbers(counts) and isinstance(lengths, list | tuple) and len(lengths) == 2 and _numbers(lengths)):
            raise _refused(f"report {number} does not say how many sequences and tokens it is of")
        if given is not None and (before := seen.setdefault(given, number)) != number:
            raise _refused(f"reports {before} and {number} are of the same inputs")


def _numbers(values: Iterable[object]) -> bool:
    return all(isinstance(value, int) for value in values)


def _refused(why: str) -> CannotMeasure:
    remedies = [("Measure all inputs in one run", "rankscope probe MODEL --text ALL.txt -o report.json")]
    return CannotMeasure("RS611", f"the reports were not merged: {why}", remedies=remedies)


def _dtype(report: Report) -> torch.dtype:
    name = report.environment.get("dtype")
    found = getattr(torch, str(name), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise _refused(f"report 1 names no floating dtype, but {name!r}")
    return found


def _pooled(parts: Sequence[Report], dtype: torch.dtype) -> tuple[Found, tuple[Sums, ...]]:
    """What pooled measures are of the merged sums, by key, where all reports have them; and these sums."""
    first = parts[0]
    names = {each.measure for each in (*first.rows, *first.spectra) if each.scope == "pooled"}
    requests = [each for each in resolve(f"pooled:{name}" for name in sorted(names)) if each.name in names]
    collection = Collection(requests)
    pooling = Pooling(collection, requests, Memory(free_share(torch.device("cpu"))))
    layers = {(layer.stack, layer.index): layer for layer in first.layers}
    kept = [{(s.place.stack, s.place.layer_index, s.place.unit): s for s in part.sums} for part in parts]
    for place in kept[0]:
        if place[:2] in layers and all(place in each for each in kept):
            if len({len(each[place].origin) for each in kept if each[place].place.count}) > 1:
                raise _refused(f"the widths of layer {place[1]} of {place[0]} differ")
            for part, each in zip(parts, kept, strict=True):
                pool = Pooled.of(each[place].place.count, *map(torch.from_numpy, each[place].arrays))
                pooling.take(layers[place[:2]], place[2], pool, _sequences(part, place), dtype)
    pooling.finish()
    return {each.key: each for each in (*collection.rows(), *collection.vectors())}, pooling.sums()


def _sequences(part: Report, place: tuple[str, int, bool]) -> int:
    """How many sequences went into a pool; a report of nothing but vectors does not say."""
    stack, index, unit = place
    said = (r for r in part.rows if r.scope == "pooled" and (r.stack, r.layer_index) == (stack, index))
    return max((1, *(row.sequences for row in said if ("_unit" in row.measure) == unit)))


def _row(same: Sequence[Row], found: Found) -> Row:
    """The row of all parts."""
    taken, status, reason = _taken(same, found)
    if status == "ok" and same[0].scope == "pooled":
        row: Row = found[same[0].key]
        return row
    sequences = [each.sequences for each in taken]
    samples = tuple(chain.from_iterable(each.samples or (None,) * each.sequences for each in taken))
    values = [value for value in samples if value is not None] if status == "ok" else []
    return replace(
        same[0],
        value=statistics.fmean(values) if values else None,
        min=min(values, default=None),
        max=max(values, default=None),
        std=statistics.pstdev(values) if values else None,
        samples=samples if any(value is not None for value in samples) else (),
        error=_largest(taken) if values else None,
        ceiling=_mean([each.ceiling for each in taken], sequences) if values else None,
        reference=_mean([each.reference for each in taken], sequences) if values else None,
        floor=_mean([each.floor for each in taken], sequences) if values else None,
        sequences=sum(sequences),
        tokens=sum(each.tokens for each in taken),
        status=status,
        reason=reason,
    )


def _vector(same: Sequence[Vector], found: Found) -> Vector:
    """The several numbers of all parts."""
    taken, status, reason = _taken(same, found)
    if status == "ok" and same[0].scope == "pooled":
        vector: Vector = found[same[0].key]
        return vector
    samples = tuple(chain.from_iterable(each.samples for each in taken)) if same[0].scope == "sequence" else ()
    error = _largest(taken) if status == "ok" else None
    return replace(same[0], samples=samples, error=error, status=status, reason=reason)


def _taken(same: Sequence[Entry], found: Found) -> tuple[list[Entry], Status, str | None]:
    """The parts that count, and whether they make a value; else the reasons of those that stand against it."""
    first, every = same[0], list(same)
    if first.scope == "batch":
        return every, "skipped", ONE_LOSS
    gone = [_is_gone(each) for each in same]
    long = [each for each, without in zip(same, gone, strict=True) if not without] or every
    against = [n for n, each in enumerate(same) if each.status != "ok" and not gone[n]]
    if against:
        return long, same[against[0]].status, "; ".join(f"{same[n].reason} in report {n + 1}" for n in against)
    if first.scope == "sequence":
        return long, long[0].status, long[0].reason
    if first.key not in found:
        return every, "skipped", NO_SUMS
    return (every, "ok", None) if found[first.key].version == first.version else (every, "skipped", OTHER_FORMULA)


def _is_gone(entry: Row | Vector) -> bool:
    """Whether what stands against a value in one report does not stand against that of all."""
    if entry.status != "undefined" or entry.reason is None:
        return False
    return NOT_FINITE not in entry.reason if entry.scope == "pooled" else bool(TOO_FEW.fullmatch(entry.reason))


def _largest(taken: Iterable[Row | Vector]) -> float | None:
    return max((each.error for each in taken if each.error is not None), default=None)


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    """The mean over sequences, None where one is missing."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known, weights) if len(known) == len(values) else None


def _inputs(parts: Sequence[Report]) -> dict[str, Any]:
    """What is said of the inputs; the fingerprint is that of the parts' in their order."""
    facts = [part.inputs for part in parts]
    prints = " ".join(str(each.get("sha256")) for each in facts)
    lengths = [length for each in facts for length in each["lengths"]]
    seeds = {each.get("seed") for each in facts}
    return {
        "source": f"merged of {len(parts)} runs",
        "sha256": hashlib.sha256(prints.encode()).hexdigest(),
        "sequences": sum(each["sequences"] for each in facts),
        "tokens": sum(each["tokens"] for each in facts),
        "lengths": [min(lengths), max(lengths)],
        "seed": seeds.pop() if len(seeds) == 1 else None,
    }


def _notes(parts: Sequence[Report], eps: float) -> list[Note]:
    """The notes of all, each once, without what was said of the depth of one part alone."""
    of_parts = {note for part in parts for note in verdicts(part.rows, eps)[1]}
    return list(dict.fromkeys(note for part in parts for note in part.notes if note not in of_parts))
