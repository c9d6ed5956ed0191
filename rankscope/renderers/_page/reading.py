"""Reading reports for the page: one strand a stack of a report, and the measures that run along the strands."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.declarations import declarations
from rankscope.explanations import measure_names
from rankscope.records import display_name
from rankscope.renderers._parts import Footnotes, cells
from rankscope.table import TELLING, at_floor, tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.declarations import Declaration
    from rankscope.records import Report, Row
    from rankscope.table import Column, Table


@dataclass(frozen=True, slots=True)
class Strand:
    """One stack of one report, which is one line in every chart; `model` is the name of the report on the page."""

    name: str
    model: str
    style: int
    report: Report
    table: Table


@dataclass(frozen=True, slots=True)
class Curve:
    """One measure along one strand: its numbers, and each as text with the number of its footnote."""

    strand: Strand
    column: Column
    values: tuple[float | None, ...]
    texts: tuple[tuple[str, int], ...]

    @property
    def rows(self) -> tuple[Row | None, ...]:
        """The rows that hold the numbers."""
        return self.column.rows

    @property
    def floored(self) -> frozenset[int]:
        """Where the number is no more than rounding."""
        return frozenset(i for i, row in enumerate(self.rows) if at_floor(row))


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure over all strands, with what is known of it."""

    label: str
    measure: str
    curves: tuple[Curve, ...]
    summary: str
    healthy: str | None
    low: float | None
    high: float | None
    unit: str

    @property
    def values(self) -> list[float]:
        """Every number of every curve."""
        return [value for curve in self.curves for value in curve.values if value is not None]


def read(reports: Sequence[Report], labels: Sequence[str], notes: Footnotes) -> tuple[list[Strand], list[Measured]]:
    """Take reports apart into strands and measures.

    Args:
        reports: any reports.
        labels: a name for each, which no other has.
        notes: takes the reasons of what is missing.

    Returns:
        The strands in the order of the reports, and the measures, the most telling ones first; those without a number
        anywhere come last.
    """
    strands = _strands(reports, labels)
    found: dict[str, list[Curve]] = defaultdict(list)
    for strand in strands:
        for column in strand.table.columns:
            found[column.label].append(Curve(strand, column, column.values, tuple(cells(column, notes))))
    measured = [_measured(label, curves) for label, curves in found.items()]
    return strands, sorted(measured, key=_order)


def names(reports: Sequence[Report]) -> list[str]:
    """A name for each report that no other has: what was typed for the model, counted where it is there twice.

    Args:
        reports: any reports.

    Returns:
        As many names.
    """
    found: list[str] = []
    for report in reports:
        name = display_name(str(report.model.get("spec") or "model"))
        same = sum(other == name or other.startswith(f"{name} (") for other in found)
        found.append(f"{name} ({same + 1})" if same else name)
    return found


def short(name: str, most: int = 28) -> str:
    """A name for a place with little room: its end is what tells paths apart.

    Args:
        name: any name.
        most: characters at most.

    Returns:
        The name, or the end of it.
    """
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _strands(reports: Sequence[Report], labels: Sequence[str]) -> list[Strand]:
    strands: list[Strand] = []
    for report, model in zip(reports, labels, strict=True):
        stacks = tables(report)
        for table in stacks:
            name = model if len(stacks) == 1 else f"{model}: {display_name(table.stack) or 'model'}"
            strands.append(Strand(name, model, len(strands), report, table))
    return strands


def _declared(measure: str) -> Declaration | None:
    """What is declared of a measure; a form of it has its name and an ending."""
    known = declarations("measures", "measure")
    fits = [name for name in known if measure == name or measure.startswith(f"{name}_")]
    return known[max(fits, key=len)] if fits else None


def _measured(label: str, curves: list[Curve]) -> Measured:
    measure = curves[0].column.measure
    entry = _declared(measure)
    words = entry.keywords if entry else {}
    low, high = (bound if isinstance(bound, float) else None for bound in words.get("bounds", (None, None)))
    unit = "directions" if words.get("rank") else "nats" if measure == "attention_entropy" else ""
    summary = measure_names().get(measure, "")
    healthy = words.get("healthy")
    return Measured(label, measure, tuple(curves), summary, healthy, low, high, unit)


def _order(measured: Measured) -> tuple[bool, bool, int]:
    known = measured.measure in TELLING
    place = TELLING.index(measured.measure) if known else len(TELLING)
    return (not measured.values, measured.label != measured.measure, place)


def telling(measured: Sequence[Measured], most: int) -> list[Measured]:
    """The measures that a reader should see first.

    Args:
        measured: in the order of `read`.
        most: how many.

    Returns:
        The most telling ones that have numbers; where none of those was measured, the first ones.
    """
    known = [each for each in measured if each.values]
    first = [each for each in known if each.measure in TELLING and each.label == each.measure]
    return (first or known)[:most]
