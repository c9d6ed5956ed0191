"""Baseline: the numbers that a drop is counted from, kept in a file that is checked in beside the code.

One entry a layer, with the values of its measures under sorted names and at six digits, so that a change reads well in
a review. It is written on request alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rankscope._version import __version__
from rankscope.declarations import declaration
from rankscope.errors import CannotMeasure
from rankscope.files import write_whole
from rankscope.requirements.names import label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rankscope.records import Report

SCHEMA = "rankscope.baseline/1"
NAME = "rankscope-baseline.json"
DIGITS = 6
_RECORD = "rankscope check REPORT --update-baseline"


@dataclass(frozen=True, slots=True)
class Recorded:
    """The values of one layer by the names of their measures."""

    stack: str
    index: int
    name: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was recorded of a report, and what must be the same for a comparison to mean anything.

    `inputs` is their fingerprint and `source` says which they were, where that is known; `record` is the command that
    records it anew.
    """

    model: str | None
    inputs: str | None
    dtype: str | None
    versions: Mapping[str, int]
    layers: tuple[Recorded, ...]
    source: str | None = None
    record: str = field(default=_RECORD, compare=False, repr=False)

    @classmethod
    def of(cls, report: Report) -> Baseline:
        """Record a report: every number of status ok.

        Args:
            report: any report.

        Returns:
            The baseline.
        """
        found: dict[tuple[str, int], Recorded] = {}
        for layer in report.layers:
            found[layer.stack, layer.index] = Recorded(layer.stack, layer.index, layer.name, {})
        versions: dict[str, int] = {}
        for row in report.rows:
            at = (row.stack, row.layer_index)
            entry = found.setdefault(at, Recorded(*at, row.layer, {}))
            if row.status == "ok" and row.value is not None and math.isfinite(row.value):
                found[at] = replace(entry, values={**entry.values, label(row): rounded(row.value)})
                versions[row.measure] = row.version
        spec, inputs, dtype = report.model.get("spec"), report.inputs.get("sha256"), report.environment.get("dtype")
        return cls(spec, inputs, dtype, versions, tuple(found.values()), report.inputs.get("source"))

    def to_json(self) -> str:
        """The baseline as it is checked in.

        Returns:
            ASCII text with sorted keys.
        """
        data = {
            "schema": SCHEMA,
            "rankscope": __version__,
            "model": self.model,
            "inputs": {"sha256": self.inputs, "source": self.source},
            "environment": {"dtype": self.dtype},
            "versions": dict(self.versions),
            "layers": [
                {"stack": entry.stack, "index": entry.index, "name": entry.name, "values": dict(entry.values)}
                for entry in self.layers
            ],
        }
        return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Args:
            path: the file.
        """
        write_whole(path, self.to_json())

    def check_same(self, report: Report, measures: Iterable[str]) -> None:
        """Make sure that numbers of a report may be held against these.

        Args:
            report: the report.
            measures: those that will be compared, as rows name them.

        Raises:
            CannotMeasure: the inputs, the dtype or the version of a measure differ, or are not known.
        """
        versions = {row.measure: row.version for row in report.rows}
        pairs: list[tuple[str, object, object]] = [
            ("inputs.sha256", self.inputs, report.inputs.get("sha256")),
            ("environment.dtype", self.dtype, report.environment.get("dtype")),
        ]
        both = sorted(set(measures) & versions.keys() & self.versions.keys())
        pairs += [(f"version of {name}", self.versions[name], versions[name]) for name in both]
        for name, recorded, found in pairs:
            if recorded != found or found is None:
                raise CannotMeasure(
                    "RS641",
                    f"the report cannot be held against the baseline: {name} differs",
                    details=self._sides(name, recorded, found, report),
                    remedies=[self._same(name), ("Record it anew", self.record)],
                )

    def _sides(self, name: str, recorded: object, found: object, report: Report) -> list[tuple[str, str]]:
        """What each of the two was, where they differ; of inputs also which."""
        sides = [f"{recorded or 'none'}", f"{found or 'none'}"]
        if name == "inputs.sha256":
            sources = (self.source or "recorded by an older rankscope"), report.inputs.get("source") or "unknown"
            sides = [f"{source} ({mark[:12]})" for source, mark in zip(sources, sides, strict=True)]
        return list(zip(("baseline", "report"), sides, strict=True))

    def _same(self, name: str) -> tuple[str, str]:
        """How to measure as the baseline was."""
        if name == "environment.dtype" and self.dtype:
            return ("Measure as the baseline was", f"rankscope probe MODEL --dtype {self.dtype} -o NEW.json")
        if name == "inputs.sha256":
            told = f"on the same inputs, {self.source}" if self.source else "with the same --input, --text or --random"
            return ("Measure as the baseline was", told)
        return ("Measure as the baseline was", "with the version of rankscope that recorded it")

    def improved(self, report: Report) -> Baseline:
        """The baseline with those numbers of a report that are better; it only ever gets tighter.

        Args:
            report: one that may be held against this.

        Returns:
            The new baseline.
        """
        self.check_same(report, self.versions)
        new = Baseline.of(report)
        names = {label(row): row.measure for row in report.rows}
        old = {(entry.stack, entry.name): entry.values for entry in self.layers}
        layers = []
        for entry in new.layers:
            before = old.get((entry.stack, entry.name), {})
            values = dict(entry.values)
            for name in values.keys() & before.keys():
                end = healthy_end(names[name])
                pick = max if end == "high" else min if end == "low" else None
                values[name] = before[name] if pick is None else pick(before[name], values[name])
            layers.append(replace(entry, values={**before, **values}))
        return replace(new, layers=tuple(layers), versions={**self.versions, **new.versions})


def rounded(value: float) -> float:
    """A number at the digits of a baseline.

    Args:
        value: finite.

    Returns:
        The nearest number of six digits.

    Example:
        >>> rounded(12.3456789)
        12.3457
    """
    return float(f"{value:.{DIGITS}g}")


def healthy_end(measure: str) -> str | None:
    """Which end of a measure is that of rich representations.

    Args:
        measure: its name as rows have it, with the suffix of its form.

    Returns:
        ``"high"``, ``"low"`` or None for neither.

    Example:
        >>> healthy_end("effective_rank_unit"), healthy_end("token_norm_ratio"), healthy_end("grad_norm")
        ('high', 'low', None)
    """
    known = declaration("measures", "measure", measure)
    end: str | None = known.keywords.get("healthy") if known else None
    return end
