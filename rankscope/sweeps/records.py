"""Records of a sweep: the points, what came of the search for the smallest edit, and both as plain data."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rankscope.plain import finite
from rankscope.records import Note, Report, Row
from rankscope.sweeps.axes import label
from rankscope.table import tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from rankscope.requirements.findings import Outcome
    from rankscope.sweeps.axes import Axis
    from rankscope.sweeps.ranges import Value
    from rankscope.table import Table

SCHEMA = "rankscope.sweep/1"
Origin = Literal["reference", "range", "search"]


@dataclass(frozen=True)
class Point:
    """One point of a sweep: the value of each swept column, and the report of the model there.

    `origin` says whether the point is the model as it was given, one of the range, or one that a search needed.
    `loss` is the task loss where one is known. `keeps` is what came of the requirement of ``--until``. A point that
    could not be measured has no report, and `reason` says why. `file` names the report where it lies beside the sweep.
    """

    values: Mapping[str, Value]
    spec: str
    origin: Origin = "range"
    report: Report | None = None
    loss: float | None = None
    keeps: Outcome | None = None
    seconds: float | None = None
    reason: str | None = None
    file: str | None = None

    @property
    def label(self) -> str:
        """The values in words; of the model as it was given, that it is."""
        if self.origin == "reference":
            return "as it is"
        return label(self.values)

    @cached_property
    def table(self) -> Table | None:
        """The stack with the most layers, which pictures show; None where there are no rows."""
        found = tables(self.report) if self.report is not None else ()
        return max(found, key=lambda table: len(table.index), default=None)

    @property
    def key(self) -> tuple[tuple[str, Value], ...]:
        """What tells it from the other points of its sweep."""
        return tuple(sorted(self.values.items()))


@dataclass(frozen=True, slots=True)
class Found:
    """What the search of ``--until`` found: the smallest edit that keeps a rule.

    `edit` is None where none does. `low` fails and `high` keeps the rule (`high` is the answer, and `neutral` the value
    that changes nothing): the edge lies between. `monotone` is False where a larger edit of the scan fails again.
    `layers` holds the value of each layer where every layer has its own. `loss_change` is the share by which the loss
    rises, and `certified` what the λ-skip theory guarantees for the edited model, as `rankscope certify` tells it.
    """

    rule: str
    edit: str | None
    value: float | None
    neutral: float
    low: float | None
    high: float | None
    monotone: bool | None
    reference_keeps: Outcome
    sentence: str
    layers: tuple[tuple[int, float], ...] = ()
    loss: float | None = None
    reference_loss: float | None = None
    loss_change: float | None = None
    certified: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """What one point changes against the model as it was given, at the last layer of each measure.

    `loss_change` is the difference of the losses; `changes` maps a measure to the difference of its values. `as_first`
    is whether it cannot be told from the first of the ranking; None where that was not tested.
    """

    rank: int
    values: Mapping[str, Value]
    loss_change: float | None
    changes: Mapping[str, float | None]
    as_first: bool | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Sweep:
    """One model over the values of what is swept, every point on the same inputs.

    `planned` counts the points that were asked for: there are fewer `points` in a file of an interrupted run.
    """

    model: str
    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    reference: Point | None = None
    loss: str | None = None
    loss_told: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    until: Found | None = None
    ranking: tuple[Effect, ...] = ()
    planned: int = 0
    notes: tuple[Note, ...] = ()
    created: str = ""
    rankscope: str = ""
    schema: str = SCHEMA

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of what is swept."""
        return tuple(axis.name for axis in self.axes)

    @property
    def measured(self) -> tuple[Point, ...]:
        """The points that have a report, the one of the model as it was given not among them."""
        return tuple(point for point in self.points if point.report is not None)

    def to_dict(self) -> dict[str, Any]:
        """The sweep as plain data under its published schema, with the report of every point.

        Returns:
            Nested dicts, lists, strings and finite numbers.
        """
        plain: dict[str, Any] = finite(
            {
                "schema": self.schema,
                "rankscope": self.rankscope,
                "created": self.created,
                "model": self.model,
                "axes": [{"name": axis.name, "values": list(axis.values)} for axis in self.axes],
                "inputs": dict(self.inputs),
                "options": dict(self.options),
                "loss": self.loss,
                "loss_told": self.loss_told,
                "planned": self.planned,
                "reference": None if self.reference is None else _plain(self.reference),
                "points": [_plain(point) for point in self.points],
                "until": None if self.until is None else _found(self.until),
                "ranking": [dataclasses.asdict(effect) for effect in self.ranking],
                "notes": [dataclasses.asdict(note) for note in self.notes],
            }
        )
        return plain

    def to_json(self) -> str:
        """The sweep as JSON text; names are as the model has them.

        Returns:
            ASCII text, which `rankscope.sweeps.saved.read_sweep` reads back.
        """
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write the sweep; the suffix chooses the format. The file appears whole or not at all.

        Args:
            path: a file such as ``sweep.json``, ``sweep.csv``, ``sweep.md`` or ``sweep.html``.
        """
        from rankscope.renderers import SWEEPS, save_all

        save_all(self, [Path(path)], of=SWEEPS)

    def to_frame(self) -> pd.DataFrame:
        """The long table: the swept columns, the loss, then the rows of the reports, without their samples.

        Returns:
            A DataFrame; a point without a report has one line, with the reason.
        """
        import pandas as pd

        return pd.DataFrame(list(self.lines()), columns=[*self.columns, *LINE])

    def lines(self) -> list[list[Any]]:
        """The long table as lists, in the order of `columns` and then `LINE`.

        Returns:
            A line for each row of each point, the model as it was given first.
        """
        every = (*([self.reference] if self.reference else []), *self.points)
        return [
            [*(point.values.get(name) for name in self.columns), point.origin, point.spec, point.loss, *cells]
            for point in every
            for cells in _cells(point)
        ]

    def __repr__(self) -> str:
        lost = len(self.points) - len(self.measured)
        swept = ", ".join(self.columns)
        failed = f", {lost} not measured" if lost else ""
        found = f"; {self.until.sentence}" if self.until else ""
        return f"<Sweep of {self.model!r} over {swept}: {len(self.points)} points{failed}{found}>"


_ROW = tuple(f.name for f in dataclasses.fields(Row) if f.name != "samples")
LINE = ("origin", "spec", "loss", *_ROW)
"""The columns of the long table that come after the swept ones."""


def _cells(point: Point) -> list[list[Any]]:
    """The rows of one point; one line with the reason where there is none."""
    if point.report is None:
        lost = {"status": "error", "reason": point.reason}
        return [[lost.get(name) for name in _ROW]]
    return [[getattr(row, name) for name in _ROW] for row in point.report.rows]


def _plain(point: Point) -> dict[str, Any]:
    kept = {f.name: getattr(point, f.name) for f in dataclasses.fields(point)}
    inside = point.report is not None and point.file is None
    report = point.report.to_dict() if inside and point.report is not None else None
    return {**kept, "values": dict(point.values), "report": report}


def _found(found: Found) -> dict[str, Any]:
    return {
        **dataclasses.asdict(found),
        "layers": [{"layer_index": index, "value": value} for index, value in found.layers],
    }
