"""Differences: each measure at each pair of layers, and whether it lies beyond noise."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rankscope.comparison.noise import LEAST, LEVEL, chances, few, intervals
from rankscope.comparison.records import Difference
from rankscope.table import at_floor, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rankscope.comparison.records import Floor, Match, Outcome
    from rankscope.records import Report, Row

# Two runs under the same of these give the same bits; under others rounding differs, and grows with depth.
ENVIRONMENT = ("torch", "device", "dtype", "threads", "spectra")
_EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_SAME = 1e-9  # relative: float64 sums of the same activations
AT_FLOOR = "both are at the noise floor"
NOT_MEASURED = "not measured"
_SCALED = {"mu": "mu_bar"}  # mu has no floor of its own: it grows with the activations

_Key = tuple[str, str, int | None, str | None, str]
_Where = tuple[str, int]


def differences(
    reference: Report, other: Report, matches: Sequence[Match], runs: tuple[Sequence[Report], Sequence[Report]]
) -> tuple[Difference, ...]:
    """Compare all that was measured at matched layers.

    Args:
        reference: the one report.
        other: the other, of the same inputs.
        matches: which layers stand beside each other.
        runs: reports of the two models under all seeds, these two among them; what differs has to lie beyond their
            spread.

    Returns:
        A difference for each match and each measure that either has there, in the order of the matches.
    """
    relative = _SAME if same_environment(reference, other) else max(map(_rounding, (reference, other)))
    spread = [_values(reports) for reports in runs]
    ours, theirs = _rows(reference), _rows(other)
    found: list[Difference] = []
    samples: list[list[float]] = []
    for match in matches:
        mine = ours.get((match.reference.stack, match.reference.index), {})
        yours = theirs.get((match.other.stack, match.other.index), {})
        for key in dict.fromkeys((*mine, *yours)):
            pair = (mine.get(key), yours.get(key))
            entry, paired = _entry(match, key, pair, relative, _floor(mine, yours, key))
            if entry.outcome != "equal" and _overlap(spread, pair):
                entry, paired = replace(entry, outcome="noise", reason="within the spread of the seeds"), []
            found.append(entry)
            samples.append(paired)
    return _tested(found, samples)


def same_environment(reference: Report, other: Report) -> bool:
    """Whether two reports were made under the same torch, device, dtype and threads, so that equal work is equal bits.

    Args:
        reference: the one report.
        other: the other.

    Returns:
        True where nothing that rounds differs.
    """
    return all(reference.environment.get(name) == other.environment.get(name) for name in ENVIRONMENT)


def _rounding(report: Report) -> float:
    """How far apart the numbers of two machines may lie, relative: half of the digits of the dtype."""
    return float(_EPS.get(str(report.environment.get("dtype")), _EPS["float32"]) ** 0.5)


def _rows(report: Report) -> dict[_Where, dict[_Key, Row]]:
    """Rows by layer; a parameter without the name of its layer, so that those of two layers have the same name."""
    found: dict[_Where, dict[_Key, Row]] = defaultdict(dict)
    for row in report.rows:
        parameter = row.parameter and row.parameter.removeprefix(f"{row.layer}.")
        found[row.stack, row.layer_index][row.site, row.scope, row.head, parameter, row.measure] = row
    return found


def _values(reports: Sequence[Report]) -> Mapping[Any, list[float]]:
    """The values of every row over the runs of a model; of one run nothing is told."""
    found: dict[Any, list[float]] = defaultdict(list)
    for row in (row for report in reports for row in report.rows if len(reports) > 1):
        if (value := number(row)) is not None:
            found[row.key].append(value)
    return found


def _overlap(spread: Sequence[Mapping[Any, list[float]]], pair: tuple[Row | None, Row | None]) -> bool:
    """Whether the runs of the one model lie among those of the other."""
    rows = [(row, number(row), values) for row, values in zip(pair, spread, strict=True)]
    if not any(spread) or any(row is None or value is None for row, value, _ in rows):
        return False
    a, b = ([*values.get(row.key, ()), value] for row, value, values in rows if row is not None and value is not None)
    return bool(min(a) <= max(b) and min(b) <= max(a))


def _entry(
    match: Match, key: _Key, pair: tuple[Row | None, Row | None], relative: float, floor: Floor | None
) -> tuple[Difference, list[float]]:
    """One measure at one pair of layers, and the differences of its sequences where they are to be tested."""
    left, right = match.reference, match.other
    a, b = number(pair[0]), number(pair[1])
    where = (left.stack, left.index, left.name, right.stack, right.index, right.name)
    entry = Difference(*where, *key, a, b, at_floor=floor)
    first, second = pair
    if first is None or second is None or a is None or b is None:
        return replace(entry, reason="; ".join(_missing(pair))), []
    if first.version != second.version:
        told = f"measured by version {first.version} and by version {second.version} of the measure"
        return replace(entry, reason=told), []
    counts = [len(first.samples), len(second.samples)]
    paired = _paired(first, second) if counts[0] == counts[1] else []
    entry = replace(entry, difference=b - a, ratio=b / a if a and not floor else None, sequences=len(paired))
    tolerance = (first.error or 0.0) + (second.error or 0.0) + relative * max(abs(a), abs(b))
    if all(abs(each) <= tolerance for each in (b - a, *paired)):
        return replace(entry, outcome="equal"), []
    if floor == "both":
        return replace(entry, outcome="equal", reason=AT_FLOOR), []
    if not all(counts):
        told = (
            "no samples were saved" if entry.scope == "sequence" else "one number of all sequences: nothing to resample"
        )
        return replace(entry, outcome="untested", reason=told), []
    if len(paired) < LEAST:
        return replace(entry, outcome="untested", reason=few(counts)), []
    return replace(entry, outcome="noise"), paired


def _floor(mine: Mapping[_Key, Row], yours: Mapping[_Key, Row], key: _Key) -> Floor | None:
    """Which of two numbers is at its floor."""
    scaled = (*key[:-1], _SCALED.get(key[-1], key[-1]))
    first, second = at_floor(mine.get(scaled)), at_floor(yours.get(scaled))
    return "both" if first and second else "reference" if first else "other" if second else None


def _paired(first: Row, second: Row) -> list[float]:
    """The differences of the sequences."""
    both = zip(first.samples, second.samples, strict=True)
    return [b - a for a, b in both if a is not None and b is not None]


def _missing(pair: Iterable[Row | None]) -> list[str]:
    """Why a number is missing, and of which of the two."""
    told = []
    for name, row in zip(("the reference", "the other"), pair, strict=True):
        if row is None:
            told.append(f"{name}: {NOT_MEASURED}")
        elif number(row) is None:
            told.append(f"{name}: {row.status}" + (f", {row.reason}" if row.reason else ""))
    return told


def _tested(found: list[Difference], samples: list[list[float]]) -> tuple[Difference, ...]:
    """The differences with their intervals and chances; those over as many sequences are tested together."""
    families: dict[int, list[int]] = defaultdict(list)
    for i, paired in enumerate(samples):
        if paired:
            families[len(paired)].append(i)
    for members in families.values():
        matrix = np.array([samples[i] for i in members])
        low, high = intervals(matrix)
        corrected = np.minimum(chances(matrix) * len(families), 1.0)  # Bonferroni over the few families
        for i, *numbers in zip(members, low.tolist(), high.tolist(), corrected.tolist(), strict=True):
            outcome: Outcome = "differs" if numbers[2] <= LEVEL else "noise"
            found[i] = replace(found[i], low=numbers[0], high=numbers[1], p=numbers[2], outcome=outcome)
    return tuple(found)
