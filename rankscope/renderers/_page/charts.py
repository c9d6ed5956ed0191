"""Charts of the page: each measure over depth, and saved spectra."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from rankscope.depth import MU_BAR, RESIDUAL, Limits
from rankscope.explanations import measure_names
from rankscope.records import display_name
from rankscope.renderers._axis import Axis
from rankscope.renderers._page.model import Figure
from rankscope.renderers._page.reading import short
from rankscope.renderers._svg import Chart, Guide, Line, draw, sample
from rankscope.table import numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rankscope.records import Report, Row, Vector
    from rankscope.renderers._page.reading import Curve, Measured

_LOG_FROM = 50.0  # a measure whose largest number is so many times its least is drawn by its logarithm
_KINDS = {"ceiling": "ceiling", "reference": "Gaussian", "floor": "noise floor"}
_ROOM = 20  # characters of a name in what a point tells
_LAYERS, _VALUES = 6, 32  # of a spectrum: layers that are drawn, and values of each
_WHOLE = 6  # spectra that are drawn with their points; there may be one for every head


def over_depth(measured: Measured, whole: bool = True) -> Figure:
    """The chart of one measure over depth, all models in it.

    Args:
        measured: the measure; it has a number somewhere.
        whole: with points, what each layer has, and the spread over sequences; else lines alone.

    Returns:
        The figure.
    """
    log = _is_log(measured.values)
    guides = _guides(measured)
    low, high = _range(measured, guides, log, whole)
    inside = tuple(guide for guide in guides if low <= min(guide.y) and max(guide.y) <= high)
    ks = [k for curve in measured.curves for k in curve.strand.table.index]
    chart = Chart(
        label=f"{measured.label} over depth. {'; '.join(map(_spoken, measured.curves))}",
        across="layer k",
        up=", ".join(part for part in (measured.unit, "log scale" if log else "") if part),
        x=Axis(min(ks), max(max(ks), min(ks) + 1), whole=True),
        y=Axis(low, high, log),
        lines=tuple(_line(curve, whole) for curve in measured.curves),
        guides=inside,
        told=tuple(_told(measured.curves)) if whole else (),
        whole=whole,
    )
    return Figure(measured.label, _caption(measured, guides), draw(chart))


def _is_log(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > _LOG_FROM


def _spoken(curve: Curve) -> str:
    """A curve in words: where it begins and ends."""
    known = [text for value, (text, _) in zip(curve.values, curve.texts, strict=True) if value is not None]
    if not known:
        return f"{short(curve.strand.name)}: no number"
    return f"{short(curve.strand.name)}: from {known[0]} to {known[-1]}"


def _caption(measured: Measured, guides: Iterable[Guide]) -> str:
    """What the measure is, which end is rich, and the lines of reference."""
    end = f"The {measured.healthy} end is healthy." if measured.healthy else ""
    told = "; ".join(guide.label for guide in guides if guide.kind != "limit")
    return " ".join(part for part in (measured.summary, end, f"Beside it: {told}." if told else "") if part)


def _line(curve: Curve, whole: bool) -> Line:
    """The line of a curve."""
    strand = curve.strand
    x = tuple(float(k) for k in strand.table.index)
    if not whole:
        return Line(strand.name, strand.style, x, curve.values)
    lost = frozenset(i for i, row in enumerate(curve.rows) if row is not None and curve.values[i] is None)
    return Line(strand.name, strand.style, x, curve.values, tuple(map(_spread, curve.rows)), curve.floored, lost)


def _told(curves: Sequence[Curve]) -> Iterable[tuple[float, str]]:
    """What each layer has: its number in every model, with its name, once where all call it the same."""
    found: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    for curve in curves:
        table, who = curve.strand.table, short(curve.strand.name, _ROOM)
        for k, name, row, (text, _) in zip(table.index, table.names, curve.rows, curve.texts, strict=True):
            if row is not None:
                found[k].append((who, short(display_name(name), _ROOM), text if row.status == "ok" else row.status))
    for k, entries in sorted(found.items()):
        names = {name for _, name, _ in entries}
        if len(curves) == 1:
            lines = [f"{entries[0][1]}, k = {k}: {entries[0][2]}"]
        elif len(names) == 1:
            lines = [f"{names.pop()}, k = {k}", *(f"{who}: {text}" for who, _, text in entries)]
        else:
            lines = [f"k = {k}", *(f"{who}, {name}: {text}" for who, name, text in entries)]
        yield float(k), "\n".join(lines)


def _spread(row: Row | None) -> tuple[float, float] | None:
    """Least and largest over sequences."""
    if row is None or row.min is None or row.max is None or row.sequences < 2:
        return None
    return (row.min, row.max) if math.isfinite(row.min) and math.isfinite(row.max) else None


def _guides(measured: Measured) -> list[Guide]:
    """The limits of the verdict; then ceiling, reference and noise floor, each once, along the deepest model."""
    found: dict[str, Guide] = {}
    for curve in measured.curves:
        for kind in _KINDS:
            pairs = [
                (float(row.layer_index), value)
                for row in curve.rows
                if row is not None and (value := getattr(row, kind)) is not None and math.isfinite(value)
            ]
            if len(pairs) > 1:
                xs, ys = zip(*pairs, strict=True)
                label = _name(kind, curve, ys)
                if label not in found or max(found[label].x) < max(xs):
                    found[label] = Guide(kind, label, xs, ys)
    guides: list[Guide] = []
    if measured.label in (RESIDUAL, MU_BAR):
        ks = [float(k) for curve in measured.curves for k in curve.strand.table.index]
        limits = [("thinning", Limits().thinning)]
        limits += [("collapsed", Limits().collapsed)] if measured.label == RESIDUAL else []
        guides += [Guide("limit", f"{word} < {y:g}", (min(ks), max(ks)), (y, y)) for word, y in limits]
    return guides + list(found.values())


def _name(kind: str, curve: Curve, ys: Sequence[float]) -> str:
    """What stands beside a line of reference: its kind, and its value where that is one."""
    word = "uniform attention" if kind == "reference" and "attention" in curve.column.measure else _KINDS[kind]
    low, high = numbers([min(ys), max(ys)])
    return f"{word} {high}" if high == low else f"{word} {low} to {high}"


def _range(measured: Measured, guides: Iterable[Guide], log: bool, whole: bool) -> tuple[float, float]:
    """The ends of the axis: all numbers and the spread that is shown, zero, and the references that are not far off."""
    spreads = [spread for curve in measured.curves for row in curve.rows if whole and (spread := _spread(row))]
    values = measured.values + [end for spread in spreads for end in spread if not log or end > 0]
    low, high = min(values), max(values)
    near = [max(guide.y) for guide in guides if guide.kind != "floor"]
    high = max([high, *(y for y in near if y <= 2 * high)])
    if log:
        low = min([low, *(min(g.y) for g in guides if g.kind == "floor" and min(g.y) >= low / 10)])
        return low / 1.3, high * 1.3
    low = min(0.0, low)
    return low, high + 0.04 * (high - low or 1.0)


def spectra(reports: Sequence[Report], labels: Sequence[str]) -> list[Figure]:
    """Saved spectra as curves: one chart a report, stack, measure and head; some layers of each, the later ones small.

    Args:
        reports: any reports.
        labels: their names.

    Returns:
        The figures; none where no report holds spectra.
    """
    figures: list[Figure] = []
    for report, name in zip(reports, labels, strict=True):
        groups: dict[tuple[str, str, str, int | None], list[Vector]] = defaultdict(list)
        for vector in report.spectra:
            if any(vector.samples):
                groups[vector.stack, vector.measure, vector.scope, vector.head].append(vector)
        for (stack, measure, scope, head), vectors in groups.items():
            parts = [measure, name, display_name(stack), "" if scope == "sequence" else scope]
            title = ", ".join(part for part in (*parts, "" if head is None else f"head {head}") if part)
            figures += _spectrum(title, measure, vectors, whole=len(figures) < _WHOLE)
    return figures


def _spectrum(title: str, measure: str, vectors: list[Vector], whole: bool) -> list[Figure]:
    """The chart of one measure: value over its number, the first layers in the first colours."""
    step = max(1.0, (len(vectors) - 1) / (_LAYERS - 1))
    chosen = [vectors[round(i * step)] for i in range(min(_LAYERS, len(vectors)))]
    lines = []
    told: dict[float, list[str]] = defaultdict(list)
    for style, vector in enumerate(chosen):
        values = _means(vector)
        at = sorted({round(i * (len(values) - 1) / max(_VALUES - 1, 1)) for i in range(_VALUES)}) if values else []
        ys = tuple(value if (value := values[i]) > 0 else None for i in at)
        lost = frozenset(i for i, y in enumerate(ys) if y is None)
        lines.append(Line(f"k = {vector.layer_index}", style, tuple(i + 1.0 for i in at), ys, lost=lost))
        for i in at:
            told[i + 1.0].append(f"k = {vector.layer_index}: {values[i]:.3g}")
    known = [y for line in lines for y in line.y if y is not None]
    if not known:
        return []
    log = _is_log(known)
    high = max(x for line in lines for x in line.x)
    chart = Chart(
        label=f"{title}: {len(lines)} of {len(vectors)} layers, values from {max(known):.3g} to {min(known):.3g}",
        across="number of the value, strongest first",
        up="log scale" if log else "",
        x=Axis(1, max(high, 2), whole=True),
        y=Axis(min(known) / 1.3, max(known) * 1.3, True) if log else Axis(0, max(known) * 1.05),
        lines=tuple(lines),
        told=tuple((x, "\n".join([f"value {x:.0f}", *texts])) for x, texts in sorted(told.items()) if whole),
        whole=whole,
    )
    caption = f"{measure_names().get(measure, '')} Mean over sequences; {len(lines)} of {len(vectors)} layers."
    keys = tuple((sample(line.style), line.name) for line in lines)
    return [Figure(title, caption.strip(), draw(chart), keys)]


def _means(vector: Vector) -> list[float]:
    """The values averaged over the sequences; those that only longer sequences have, over these."""
    samples = [sample for sample in vector.samples if sample]
    size = max((len(sample) for sample in samples), default=0)
    known = [[sample[i] for sample in samples if i < len(sample)] for i in range(size)]
    return [sum(values) / len(values) for values in known]
