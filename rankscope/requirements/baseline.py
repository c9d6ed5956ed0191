"""Baseline: the numbers that a drop is counted from, kept in a file that is checked in beside the code.

One entry a layer, with the values of its measures under sorted names and at six digits, so that a change reads well in
a review. It is written on request alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rankscope._version import __version__
from rankscope.declarations import declaration
from rankscope.errors import CannotMeasure, UsageError
from rankscope.files import write_whole
from rankscope.requirements.names import label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rankscope.records import Report

SCHEMA = "rankscope.baseline/1"
NAME = "rankscope-baseline.json"
DIGITS = 6
_RECORD = "rankscope check report.json --update-baseline"


@dataclass(frozen=True, slots=True)
class Recorded:
    """The values of one layer by the names of their measures."""

    stack: str
    index: int
    name: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was recorded of a report, and what must be the same for a comparison to mean anything."""

    model: str | None
    inputs: str | None
    dtype: str | None
    versions: Mapping[str, int]
    layers: tuple[Recorded, ...]

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
        return cls(spec, inputs, dtype, versions, tuple(found.values()))

    def to_json(self) -> str:
        """The baseline as it is checked in.

        Returns:
            ASCII text with sorted keys.
        """
        data = {
            "schema": SCHEMA,
            "rankscope": __version__,
            "model": self.model,
            "inputs": {"sha256": self.inputs},
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
        for field, recorded, found in pairs:
            if recorded != found or found is None:
                raise CannotMeasure(
                    "RS641",
                    f"the report cannot be held against the baseline: {field} differs",
                    details=[("baseline", f"{recorded or 'none'}"), ("report", f"{found or 'none'}")],
                    remedies=[("Measure as the baseline was", "same inputs, --dtype"), ("Record it anew", _RECORD)],
                )

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


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Args:
        path: the file.

    Returns:
        The baseline.

    Raises:
        UsageError: it cannot be read, is none, or is one of another schema.
    """
    try:
        return _built(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        headline = f"{path} was not read: there is no such baseline"
        raise UsageError("RS640", headline, remedies=[("Record one", f"{_RECORD} --baseline {path}")]) from error
    except OSError as error:
        raise UsageError("RS640", f"{path} was not read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        headline = f"{path} is no baseline: {type(error).__name__}: {str(error)[:200]}"
        remedies = [("Take the one of the last commit", f"git checkout {path}"), ("Record it anew", _RECORD)]
        raise UsageError("RS640", headline, remedies=remedies) from error


def _built(data: dict[str, Any]) -> Baseline:
    """The record of plain data; anything that is not as it is written raises."""
    if data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']!r}, expected {SCHEMA!r}")
    layers = []
    for entry in data["layers"]:
        values = {name: _number(value) for name, value in entry["values"].items()}
        if not isinstance(entry["stack"], str) or not isinstance(entry["name"], str):
            raise TypeError("a layer without a name")
        layers.append(Recorded(entry["stack"], int(entry["index"]), entry["name"], values))
    inputs, dtype, versions = data["inputs"]["sha256"], data["environment"]["dtype"], dict(data["versions"])
    return Baseline(data["model"], inputs, dtype, versions, tuple(layers))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"a value that is no number: {value!r}")
    return float(value)
