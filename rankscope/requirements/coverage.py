"""Coverage: which numbers of a report a rule is held against, and the reason where one of them is missing."""

from __future__ import annotations

import difflib
import math
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rankscope.declarations import declaration
from rankscope.errors import UsageError
from rankscope.explanations import measure_names
from rankscope.registry import unknown_name
from rankscope.requirements.names import Name, label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rankscope.records import Report, Row
    from rankscope.requirements.grammar import Aggregate, Requirement

# Sites with a number at every layer of a stack, its input among them; sites with one in every block of a stack that has
# attention. Of any other there is what there is: a layer may hold no weight.
_EVERYWHERE, _INSIDE = {"block", "gradient"}, {"value", "attention"}
_AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "max": max,
    "mean": statistics.fmean,
    "median": statistics.median,
}


Cells = dict[str, tuple["Cell", ...]]
"""The cells of each stack, in the order of its layers."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One number at one place of a stack, or the reason why there is none."""

    layer_index: int
    layer: str
    head: int | None = None
    parameter: str | None = None
    value: float | None = None
    ceiling: float | None = None
    reason: str | None = None
    label: str = ""
    version: int = 0

    def in_percent(self) -> Cell:
        """The same in percent of the ceiling."""
        if self.value is None or not self.ceiling:
            reason = self.reason or "there is no ceiling that it could be a percentage of"
            return replace(self, value=None, reason=reason)
        return replace(self, value=100 * self.value / self.ceiling)


def covered(report: Report, measure: str) -> Cells:
    """The numbers of one measure that a rule can be held against, before its selector.

    A layer that has none by nature is left out: the input of the first block where the measure is taken inside blocks
    or over one, and the first layer with a value where the measure compares the values with those of that very layer.
    Any other layer without a row is there without a number, with the reason.

    Args:
        report: any report.
        measure: its name, as `Name` reads it.

    Returns:
        The cells of each stack.
    """
    name = Name.of(measure)
    rows = [row for row in report.rows if name.fits(row)]
    if not rows:
        _check_known(report, measure, name)
    layers: dict[str, dict[int, str]] = {}
    for place in report.layers:
        layers.setdefault(place.stack, {}).setdefault(place.index, place.name)
    for row in report.rows:
        layers.setdefault(row.stack, {}).setdefault(row.layer_index, row.layer)
    site = rows[0].site if rows else None
    found: Cells = {}
    for stack, names in layers.items():
        cells = _cells(name, site, [row for row in rows if row.stack == stack], names)
        sound = [r.layer_index for r in report.rows if (r.stack, r.measure, r.status) == (stack, name.measure, "ok")]
        compared = compared_with(name.measure, sound) if site == "value" else None
        found[stack] = tuple(cell for cell in cells if cell.layer_index != compared)
    return {stack: cells for stack, cells in found.items() if cells}


def _cells(name: Name, site: str | None, rows: list[Row], layers: dict[int, str]) -> tuple[Cell, ...]:
    """The cells of one stack; a stack without any row of values or attention has no attention."""
    at: dict[int, list[Row]] = {}
    for row in rows:
        at.setdefault(row.layer_index, []).append(row)
    expected = set(at)
    if site is None or (site in _EVERYWHERE and not name.partial):
        expected |= set(layers) - ({0} if _of_a_step(name.measure) else set())
    elif site in _INSIDE and not name.partial and rows:
        expected |= set(layers) - {0}
    cells: list[Cell] = []
    for k in sorted(expected):
        cells += [_cell(row) for row in at.get(k, ())] or [Cell(k, layers[k], reason=_missing(name))]
    return tuple(cells)


def _of_a_step(measure: str) -> bool:
    """Whether a measure compares each layer with the one before it, and so has nothing to say of the input."""
    known = declaration("measures", "measure", measure)
    return known is not None and "previous" in known.parameters


def compared_with(measure: str, layers: Iterable[int]) -> int | None:
    """The layer that all others are compared with, where the measure does so: its own number is one by definition.

    Args:
        measure: as rows name it.
        layers: indices of those of a stack that have a number of it.

    Returns:
        The first of them, or None for a measure that compares with no layer.

    Example:
        >>> compared_with("value_cosine", [2, 1, 3]), compared_with("mu_bar", [0, 1])
        (1, None)
    """
    known = declaration("measures", "measure", measure)
    return min(layers, default=None) if known is not None and "first_value" in known.parameters else None


def _cell(row: Row) -> Cell:
    """What a row says."""
    told = f"{row.status}: {row.reason}" if row.reason else row.status
    reason = told if row.status != "ok" else None
    value = row.value if reason is None else None
    if reason is None and (value is None or not math.isfinite(value)):
        value, reason = None, f"the value is {value}" if value is not None else "the value is missing"
    return Cell(
        row.layer_index, row.layer, row.head, row.parameter, value, row.ceiling, reason, label(row), row.version
    )


def _missing(name: Name) -> str:
    return f"missing: the report holds no {name.measure} of this layer (probe with --measures {name.request})"


def select(rule: Requirement, cells: Mapping[str, tuple[Cell, ...]]) -> Cells:
    """The cells that a rule means.

    Args:
        rule: its selector is used.
        cells: those it could mean.

    Returns:
        Those it means; stacks without any are left out.
    """
    found = {}
    for stack, there in cells.items():
        chosen = set(rule.selector.select((cell.layer_index, cell.layer) for cell in there))
        found[stack] = tuple(cell for cell in there if cell.layer_index in chosen)
    return {stack: there for stack, there in found.items() if there}


def no_layer(rule: Requirement, cells: Mapping[str, tuple[Cell, ...]]) -> UsageError:
    """The error for a rule that matches no layer.

    Args:
        rule: the rule.
        cells: what it could have meant.

    Returns:
        The error, to be raised by the caller.
    """
    places = [cell for there in cells.values() for cell in there]
    names = list(dict.fromkeys(cell.layer for cell in places))
    near = difflib.get_close_matches(str(rule.selector), names, n=3, cutoff=0.6)
    details = [("did you mean", ", ".join(near))] if near else []
    if places:
        span = f"{min(cell.layer_index for cell in places)} to {max(cell.layer_index for cell in places)}"
        details += [(f"layers with {rule.measure}", f"{span}, {names[0]} to {names[-1]}")]
    if compared_with(Name.of(rule.measure).measure, [0]) is not None:
        told = "all others are compared with it, so its own number is what it is by definition"
        details += [("not the first layer with values", told)]
    return UsageError("RS119", f"'{rule}' matches no layer of the report", details=details)


def aggregated(cells: Iterable[Cell], aggregate: Aggregate) -> tuple[float | None, str | None]:
    """One number of several; none where one of them is missing.

    Args:
        cells: at least one.
        aggregate: min, max, mean or median.

    Returns:
        The number, or None and the reason.
    """
    found = list(cells)
    for cell in found:
        if cell.value is None:
            return None, f"{cell.layer}: {cell.reason}"
    values = [cell.value for cell in found if cell.value is not None]
    return _AGGREGATES[aggregate](values), None


def over_depth(cells: Iterable[Cell], worst: Callable[[Sequence[float]], float] = min) -> tuple[float | None, ...]:
    """The curve of a measure: one number a layer, the worst where a layer has several.

    Args:
        cells: of one stack, in the order of the layers.
        worst: which of several it is.

    Returns:
        Numbers, None where there is none.
    """
    curve: dict[int, float | None] = {}
    for cell in cells:
        known = [value for value in (curve.get(cell.layer_index), cell.value) if value is not None]
        curve[cell.layer_index] = worst(known) if known else None
    return tuple(curve.values())


def _check_known(report: Report, measure: str, name: Name) -> None:
    """Refuse a name that nobody knows; one that was not measured is no usage error, but nothing shows that it holds."""
    if any(vector.measure == name.measure for vector in report.spectra):
        headline = f"no rule can be held against {measure}: it is several numbers a layer"
        raise UsageError("RS118", headline, remedies=[("A rank of the same spectrum", "--min effective_rank=2")])
    here = sorted({label(row).partition(" ")[0] for row in report.rows})
    known = {*measure_names(), *(f"head:{row.measure}" for row in report.rows if row.head is not None)}
    if name.request not in known and measure not in known:
        names = sorted({*known, *here, "verdict", "decay"})
        error = unknown_name("measure", measure, names, here or names)
        raise error
