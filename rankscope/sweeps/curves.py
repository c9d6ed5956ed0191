"""Curves: a measure over the depth of one stack, and at its end, point by point of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.table import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Row
    from rankscope.sweeps.records import Point
    from rankscope.table import Column

FIRST = ("mu_bar", "rank_one_residual_unit", "effective_rank_unit")
"""The measures that a picture shows first; the paper plots mu_bar."""


def rows_of(point: Point, label: str) -> tuple[tuple[int, Row], ...]:
    """A measure over the depth of the deepest stack.

    Args:
        point: of a sweep.
        label: of a column of its table.

    Returns:
        Index and row of every layer that has one.
    """
    column = _column(point, label)
    if point.table is None or column is None:
        return ()
    return tuple((k, row) for k, row in zip(point.table.index, column.rows, strict=True) if row is not None)


def last_row(point: Point, label: str) -> Row | None:
    """A measure at the last layer of the deepest stack.

    Args:
        point: of a sweep.
        label: of a column of its table.

    Returns:
        The row, whatever its status; None where there is none.
    """
    column = _column(point, label)
    return column.rows[-1] if column is not None and column.rows else None


def finals(point: Point) -> dict[str, float | None]:
    """Every measure at the last layer of the deepest stack.

    Args:
        point: of a sweep.

    Returns:
        Label to number; None where it is missing.
    """
    return {column.label: number(column.rows[-1]) for column in (point.table.columns if point.table else ())}


def labels(points: Sequence[Point]) -> list[str]:
    """The measures of a sweep that have a number somewhere, those of a picture first.

    Args:
        points: of a sweep.

    Returns:
        Labels, each once.
    """
    found: dict[str, None] = {}
    for point in points:
        for column in point.table.columns if point.table else ():
            if column.label not in found and any(value is not None for value in column.values):
                found[column.label] = None
    return sorted(found, key=lambda label: FIRST.index(label) if label in FIRST else len(FIRST))


def _column(point: Point, label: str) -> Column | None:
    return next((column for column in point.table.columns if column.label == label), None) if point.table else None
