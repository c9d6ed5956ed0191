"""Curves: a measure over the depth of one stack, and at its end, point by point of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.table import number, tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Report, Row
    from rankscope.sweeps.records import Point
    from rankscope.table import Table

FIRST = ("mu_bar", "rank_one_residual_unit", "effective_rank_unit")
"""The measures that a picture shows first; the paper plots mu_bar."""


def deepest(report: Report) -> Table | None:
    """The stack with the most layers, which a picture shows.

    Args:
        report: any report.

    Returns:
        Its table; None where the report has no rows.
    """
    return max(tables(report), key=lambda table: len(table.index), default=None)


def rows_of(report: Report, label: str) -> tuple[tuple[int, Row], ...]:
    """A measure over the depth of the deepest stack.

    Args:
        report: any report.
        label: of a column of its table.

    Returns:
        Index and row of every layer that has one.
    """
    table = deepest(report)
    column = next((column for column in table.columns if column.label == label), None) if table else None
    if table is None or column is None:
        return ()
    return tuple((k, row) for k, row in zip(table.index, column.rows, strict=True) if row is not None)


def last_row(report: Report, label: str) -> Row | None:
    """A measure at the last layer of the deepest stack.

    Args:
        report: any report.
        label: of a column of its table.

    Returns:
        The row, whatever its status; None where there is none.
    """
    table = deepest(report)
    found = rows_of(report, label)
    return found[-1][1] if table and found and found[-1][0] == table.index[-1] else None


def finals(report: Report) -> dict[str, float | None]:
    """Every measure at the last layer of the deepest stack.

    Args:
        report: any report.

    Returns:
        Label to number; None where it is missing.
    """
    table = deepest(report)
    columns = table.columns if table else ()
    return {column.label: number(last_row(report, column.label)) for column in columns}


def labels(points: Sequence[Point]) -> list[str]:
    """The measures of a sweep that have a number somewhere, those of a picture first.

    Args:
        points: of a sweep.

    Returns:
        Labels, each once.
    """
    found: dict[str, None] = {}
    for point in points:
        table = deepest(point.report) if point.report else None
        for column in table.columns if table else ():
            if any(value is not None for value in column.values):
                found[column.label] = None
    return sorted(found, key=lambda label: FIRST.index(label) if label in FIRST else len(FIRST))
