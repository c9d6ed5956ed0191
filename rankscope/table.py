"""Tables: the rows of a report turned into what a person looks at, a line a layer and a column a measure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from rankscope.records import Report, Row

# The most telling measures first: those of the verdict, what may mislead it, then the other sites.
TELLING = (
    "rank_one_residual_unit",
    "mu_bar_unit",
    "effective_rank_unit",
    "token_norm_ratio",
    "value_cosine",
    "attention_entropy_ratio",
    "grad_norm",
    "effective_rank",
    "mu_bar",
    "stable_rank",
    "grad_condition",
    "participation_ratio",
    "participation_ratio_centered",
)
_BARS, _ASCII_BARS = "▁▂▃▄▅▆▇█", ".:-=+*#@"
_SHORT = {
    "effective": "eff.",
    "participation": "part.",
    "residual": "resid.",
    "condition": "cond.",
    "centered": "cent.",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One measure over the layers of a stack: a row of the report for each layer, or None where there is none."""

    label: str
    measure: str
    rows: tuple[Row | None, ...]

    @property
    def values(self) -> tuple[float | None, ...]:
        """The numbers, None where there is no finite number of status ok."""
        return tuple(number(row) for row in self.rows)

    @property
    def heading(self) -> str:
        """The label in lines of at most about nine characters."""
        words = self.label.replace("rank_one", "rank-1").replace("mu_bar", "mu-bar").replace(":", " ").replace("_", " ")
        lines: list[str] = []
        for word in words.split():
            short = _SHORT.get(word, word).replace("mu-bar", "mu_bar")
            if lines and len(lines[-1]) + len(short) < 9:
                lines[-1] += f" {short}"
            else:
                lines.append(short)
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Ends:
    """A column at its first and last number, as text: the values, the last one's least and largest sequence, and what
    Gaussian data of the same shape, or for an entropy uniform attention, would show there.
    """

    first: str
    last: str
    low: str
    high: str
    reference: str


@dataclass(frozen=True, slots=True)
class Table:
    """One stack: a line for each layer index, the most telling columns first."""

    stack: str
    index: tuple[int, ...]
    names: tuple[str, ...]
    columns: tuple[Column, ...]


def number(row: Row | None) -> float | None:
    """The value of a row, if it is a finite number of status ok.

    Args:
        row: a row of a report, or None.

    Returns:
        The value or None.
    """
    if row is None or row.status != "ok" or row.value is None or not math.isfinite(row.value):
        return None
    return row.value


def at_floor(row: Row | None) -> bool:
    """Whether a value is no more than the rounding of the data's dtype shows.

    Args:
        row: a row of a report, or None.

    Returns:
        True at or below the row's floor.
    """
    value = number(row)
    return row is not None and value is not None and row.floor is not None and row.floor > 0 and value <= row.floor


def tables(report: Report) -> tuple[Table, ...]:
    """Pivot a report: one table a stack, one line a layer, one column a measure, site, scope and head.

    Where a measure is taken of several parameters of a layer, the column holds the worst of them: the largest
    condition number or norm, the smallest rank. The report keeps them all.

    Args:
        report: any report.

    Returns:
        The tables, in the order of the report's layers.
    """
    names: dict[str, dict[int, str]] = {}
    for layer in report.layers:
        names.setdefault(layer.stack, {}).setdefault(layer.index, layer.name)
    for row in report.rows:
        names.setdefault(row.stack, {}).setdefault(row.layer_index, row.layer)
    labels = _labels(report.rows)
    columns: dict[str, dict[str, list[Row]]] = {stack: {} for stack in names}
    for row in report.rows:
        columns[row.stack].setdefault(labels[_kind(row)], []).append(row)
    found = []
    for stack, lines in names.items():
        index = tuple(sorted(lines))
        made = [_column(label, rows, index) for label, rows in columns[stack].items()]
        found.append(Table(stack, index, tuple(lines[k] for k in index), tuple(sorted(made, key=_order))))
    return tuple(found)


_Kind = tuple[str, str, str, int | None, str | None]


def _kind(row: Row) -> _Kind:
    """What tells two columns apart; cross-attention is no worse case of self-attention."""
    return (row.measure, row.site, row.scope, row.head, row.parameter if row.site == "attention" else None)


def _labels(rows: Iterable[Row]) -> dict[_Kind, str]:
    """A name for each column: the measure alone where that is unique, else with its site, scope and head."""
    kinds = dict.fromkeys(_kind(row) for row in rows)
    sites: dict[str, list[str]] = {}
    for measure, site, *_ in kinds:
        sites.setdefault(measure, [])
        sites[measure] += [site] if site not in sites[measure] else []
    labels = {}
    for measure, site, scope, head, parameter in kinds:
        before = f"{site}:" if len(sites[measure]) > 1 and site != "block" else ""
        alone = not any(k[:2] == (measure, site) and k[2] == "sequence" and k[3] == head for k in kinds)
        before += "" if scope == "sequence" or (scope == "batch" and alone) else f"{scope}:"
        before += f"{parameter}:" if parameter else ""
        label = f"{before}{measure}" + ("" if head is None else f":head{head}")
        labels[measure, site, scope, head, parameter] = label
    return labels


def _column(label: str, rows: Iterable[Row], index: Sequence[int]) -> Column:
    """The column of one label: the worst row of each layer."""
    ordered = sorted(rows, key=lambda row: row.layer_index)
    at = {k: _worst(list(group)) for k, group in groupby(ordered, key=lambda row: row.layer_index)}
    return Column(label, ordered[0].measure, tuple(at.get(k) for k in index))


def _worst(rows: list[Row]) -> Row:
    """The worst of several parameters: of those with a number the largest condition or norm, the smallest rank."""
    sound = [row for row in rows if number(row) is not None] if len(rows) > 1 else []
    if not sound:
        return rows[0]
    high = any(word in rows[0].measure for word in ("condition", "norm", "spread"))
    return (max if high else min)(sound, key=lambda row: number(row) or 0.0)


def _order(column: Column) -> tuple[bool, int]:
    """Columns of whole sequences first, then the most telling ones; the sort is stable."""
    known = column.measure in TELLING
    return (column.label != column.measure, TELLING.index(column.measure) if known else len(TELLING))


def wide(report: Report) -> pd.DataFrame:
    """The report with measures as columns, a line for each stack and layer.

    Args:
        report: any report.

    Returns:
        A DataFrame with columns stack, layer_index, layer and one for each measure; NaN where there is no number.
    """
    import pandas as pd

    parts = []
    for table in tables(report):
        data = {"stack": [table.stack] * len(table.index), "layer_index": table.index, "layer": table.names}
        data |= {column.label: [math.nan if v is None else v for v in column.values] for column in table.columns}
        parts.append(pd.DataFrame(data))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["stack", "layer_index", "layer"])


def sparkline(values: Iterable[float | None], ascii: bool = False, width: int | None = None) -> str:  # noqa: A002 - the word for it
    """A curve of one character a value, from zero (or the least value below it) to the largest.

    Args:
        values: numbers; None or one that is not finite shows as a gap.
        ascii: draw with ASCII characters only.
        width: the most characters to use; more values are averaged in groups.

    Returns:
        The curve.

    Example:
        >>> print(sparkline([1.0, 0.8, 0.5, None, 0.1]), sparkline([1.0, 0.5, None], ascii=True))
        █▇▅·▂ @+?
    """
    numbers = [value if value is not None and math.isfinite(value) else None for value in values]
    power = math.frexp(max((abs(value) for value in numbers if value is not None), default=0.0))[1]
    numbers = [None if value is None else math.ldexp(value, -power) for value in numbers]  # no difference overflows
    if width is not None and len(numbers) > width > 0:
        cuts = [round(i * len(numbers) / width) for i in range(width + 1)]
        numbers = [_mean(numbers[a:b]) for a, b in pairwise(cuts)]
    known = [value for value in numbers if value is not None]
    bars, gap = (_ASCII_BARS, "?") if ascii else (_BARS, "·")
    low, high = min([0.0, *known]), max([0.0, *known])
    step = (high - low) / (len(bars) - 1) or 1.0
    return "".join(gap if value is None else bars[round((value - low) / step)] for value in numbers)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def ends(column: Column) -> Ends:
    """The ends of a column, written with the same count of decimals.

    Args:
        column: a measure that has a number somewhere.

    Returns:
        The texts; empty where a report has no such number, or only one sequence.
    """
    known = [row for row, value in zip(column.rows, column.values, strict=True) if value is not None and row]
    last = known[-1] if column.values[-1] is not None else None  # an undefined end is shown as such
    several = last is not None and last.sequences > 1 and last.min is not None and last.max is not None
    low, high = (last.min, last.max) if last is not None and several else (None, None)
    first, *rest = numbers([known[0].value, None if last is None else last.value, low, high, known[-1].reference])
    return Ends(first, rest[0] or "·", *rest[1:])


def numbers(values: Sequence[float | None]) -> list[str]:
    """Numbers of one column as text, with the same count of decimals, so that the points stand below each other.

    Two digits are always shown, and a number that is not 1 never looks like 1 unless it is within 1e-5 of it (within
    5e-4 in a column of numbers over 10, where more digits would be noise to the eye).

    Args:
        values: numbers; None gives an empty text.

    Returns:
        As many texts.

    Example:
        >>> numbers([0.93, 0.0312, 2e-7, None]), numbers([153.2, 1.0]), numbers([3.2e6, 11.0]), numbers([0.99991, 1.0])
        (['0.930', '0.031', '2.0e-7', ''], ['153.20', '1.00'], ['3.20e6', '11.0'], ['0.9999', '1.0000'])
    """
    sizes = [abs(value) for value in values if value is not None and math.isfinite(value)]
    top = max(sizes, default=0.0)
    decimals = 3 if top < 10 else 2 if top < 1000 else 1
    while decimals < (5 if top < 10 else 3) and any(
        abs(1 - size) > 1e-5 and f"{size:.{decimals}f}" == f"{1:.{decimals}f}" for size in sizes
    ):
        decimals += 1
    return ["" if value is None else _text(value, decimals) for value in values]


def _text(value: float, decimals: int) -> str:
    """One number; a large or a small one with a power of ten."""
    size = abs(value)
    if not math.isfinite(value) or size == 0:
        return "0" if size == 0 else str(value)
    if size >= 1e4 or size < 9.95 * 10.0**-decimals:
        mantissa, _, power = f"{value:.{2 if size >= 1 else 1}e}".partition("e")
        return f"{mantissa}e{int(power)}"
    return f"{value:.{decimals}f}"
