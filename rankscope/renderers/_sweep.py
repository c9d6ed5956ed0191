"""A sweep as its formats for people show it: a line a point, the curves, the ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.records import display_name
from rankscope.renderers._axis import Axis
from rankscope.renderers._screen import plain
from rankscope.sweeps.axes import over_layers, shown
from rankscope.sweeps.curves import labels, last_row, rows_of
from rankscope.sweeps.digits import brief
from rankscope.sweeps.words import verdict_of
from rankscope.table import number, numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Row
    from rankscope.sweeps import Point, Sweep

_LOG_FROM = 50.0
_KEEPS = {"ok": "keeps", "failed": "fails", "undefined": "undefined", None: ""}


@dataclass(frozen=True, slots=True)
class Lines:
    """The table of the points: headings, and a line for each point, the model as it was given first."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def everyone(sweep: Sweep) -> tuple[Point, ...]:
    """All points, the model as it was given first."""
    return (*([sweep.reference] if sweep.reference else []), *sweep.points)


def ordered(sweep: Sweep) -> list[Point]:
    """The points, those of a search among those of the range where one number is swept."""
    if len(sweep.axes) == 1 and all(isinstance(value, float) for p in sweep.points for value in p.values.values()):
        return sorted(sweep.points, key=lambda point: float(next(iter(point.values.values()))))
    return list(sweep.points)


def lines(sweep: Sweep, measures: Sequence[str]) -> Lines:
    """A line a point: the swept values, each measure at the last layer, the loss, the verdict.

    Args:
        sweep: any.
        measures: those that are shown.

    Returns:
        Texts.
    """
    points = [*([sweep.reference] if sweep.reference else []), *ordered(sweep)]
    columns: dict[str, list[str]] = {}
    for name in sweep.columns:
        columns[display_name(name)] = [
            "as it is" if point.origin == "reference" else display_name(brief(point.values.get(name, "")))
            for point in points
        ]
    for label in measures:
        columns[label] = _numbers([last_row(point, label) for point in points])
    if any(point.loss is not None for point in points):
        texts = numbers([point.loss for point in points])
        columns["loss"] = [text or "—" for text in texts]
    if any(point.keeps for point in points):
        columns["rule"] = [_KEEPS[point.keeps] for point in points]
    verdicts = [verdict_of(point.report) if point.report else "not measured" for point in points]
    if any(verdicts):
        columns["verdict"] = verdicts
    return Lines(tuple(columns), tuple(zip(*columns.values(), strict=True)))


def _numbers(rows: Sequence[Row | None]) -> list[str]:
    """The numbers of a column; a dash where there is none."""
    return [text or "—" for text in numbers([number(row) for row in rows])]


def failures(sweep: Sweep) -> list[tuple[str, str]]:
    """Why points could not be measured, each reason once.

    Args:
        sweep: any.

    Returns:
        Pairs of the points and the reason.
    """
    found: dict[str, list[str]] = {}
    for point in sweep.points:
        if point.report is None:
            found.setdefault(plain(point.reason or "unknown"), []).append(point.label)
    return [(_some(who), reason) for reason, who in found.items()]


def _some(names: Sequence[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more} more"


def chosen(sweep: Sweep, most: int, label: str) -> list[Point]:
    """At most so many points: both ends, the model as it is, the least and the most of a measure; then evenly spread.

    Args:
        sweep: any.
        most: how many.
        label: of the measure.

    Returns:
        Some of them, the model as it was given first.
    """
    known = [point for point in ordered(sweep) if point.report is not None]
    own = [sweep.reference] if sweep.reference is not None and sweep.reference.report is not None else []
    if len(known) + len(own) <= most:
        return [*own, *known]
    places = _places(known)
    ends = {i: value for i, point in enumerate(known) if (value := number(last_row(point, label))) is not None}
    extremes = [min(ends, key=ends.__getitem__), max(ends, key=ends.__getitem__)] if ends else []
    taken = list(dict.fromkeys([0, len(known) - 1, *extremes]))[: most - len(own)]
    while len(taken) < most - len(own):
        rest = [i for i in range(len(known)) if i not in taken]
        taken.append(max(rest, key=lambda i: min(abs(places[i] - places[j]) for j in taken)))
    return [*own, *(known[i] for i in sorted(taken))]


def _places(points: Sequence[Point]) -> list[float]:
    """Where points lie: at the one number that is swept, else one after the other."""
    alone = [list(point.values.values()) for point in points]
    numbers_alone = [float(values[0]) for values in alone if len(values) == 1 and isinstance(values[0], float)]
    return numbers_alone if len(numbers_alone) == len(points) else [float(i) for i in range(len(points))]


def of_how_many(sweep: Sweep, drawn: Sequence[Point]) -> str:
    """How many curves are drawn, where that is not all of them.

    Args:
        sweep: any.
        drawn: the points that are drawn.

    Returns:
        Such as ``8 of 15 points``; empty where all are drawn.
    """
    known = [point for point in everyone(sweep) if point.report is not None]
    return f"{len(drawn)} of {len(known)} points" if len(drawn) < len(known) else ""


def swept_number(sweep: Sweep) -> str | None:
    """The column that a curve can run along: the one number with the most values.

    Args:
        sweep: any.

    Returns:
        Its name; None where only words are swept, or layers.
    """
    numeric = [axis for axis in sweep.axes if axis.values and all(isinstance(value, float) for value in axis.values)]
    numeric = [axis for axis in numeric if len(axis.values) > 1 and not over_layers(axis.name)]
    return max(numeric, key=lambda axis: len(axis.values)).name if numeric else None


def along(sweep: Sweep, column: str, label: str) -> list[tuple[str, list[tuple[float, Point]]]]:
    """The points along one column, a curve for every combination of the other columns.

    Args:
        sweep: any.
        column: the number that runs.
        label: of the measure.

    Returns:
        The name of each curve, and its points in ascending order.
    """
    found: dict[str, list[tuple[float, Point]]] = {}
    for point in sweep.measured:
        others = {name: value for name, value in point.values.items() if name != column}
        name = ", ".join(f"{key}={display_name(shown(value))}" for key, value in others.items()) or label
        found.setdefault(name, []).append((float(point.values[column]), point))
    return [(name, sorted(points, key=lambda pair: pair[0])) for name, points in found.items()]


def depth_axes(curves: Sequence[Sequence[tuple[int, Row]]], low: float, high: float) -> tuple[Axis, Axis] | None:
    """The axes of curves over depth.

    Args:
        curves: index and row of each layer.
        low: the least that the measure can be, where that is near.
        high: the most.

    Returns:
        Both; None where no curve has a number.
    """
    ks = [k for curve in curves for k, _ in curve]
    values = [value for curve in curves for _, row in curve if (value := number(row)) is not None]
    if not values:
        return None
    return Axis(min(ks), max(max(ks), min(ks) + 1), whole=True), y_axis(values, low, high)


def y_axis(values: Sequence[float], low: float = 0.0, high: float = 0.0) -> Axis:
    """An axis of values: from zero where they are not far from it, by the logarithm where they span much.

    Args:
        values: at least one.
        low: what is shown in any case.
        high: the same.

    Returns:
        The axis.
    """
    least, most = min(values), max(values)
    if least > 0 and most / least > _LOG_FROM and not high:
        return Axis(least, most, log=True)
    least, most = min(least, low), max(most, high)
    return Axis(least, most if most > least else least + 1.0)


def first_measures(sweep: Sweep, most: int) -> list[str]:
    """The measures that a picture shows.

    Args:
        sweep: any.
        most: how many.

    Returns:
        Labels.
    """
    return labels(everyone(sweep))[:most]


__all__ = [
    "Lines",
    "along",
    "chosen",
    "depth_axes",
    "everyone",
    "failures",
    "first_measures",
    "lines",
    "of_how_many",
    "ordered",
    "rows_of",
    "swept_number",
    "y_axis",
]
