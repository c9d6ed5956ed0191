"""Rows of reports as plain lines, for the formats that hold a line a row."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from rankscope.plain import finite
from rankscope.records import Row, display_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rankscope.records import Report

_FORMULA = ("=", "+", "-", "@")
FRONT = ("model", "created")
"""What tells the rows of one report from those of another: what was measured, and when."""
COLUMNS = (*FRONT, *(field.name for field in dataclasses.fields(Row) if field.name != "samples"))


def front(report: Report) -> dict[str, Any]:
    """The model of a report and when the report was made.

    Args:
        report: any report.

    Returns:
        The values of `FRONT`.
    """
    return {"model": report.model.get("spec"), "created": report.created}


def lines(reports: Sequence[Report]) -> Iterator[dict[str, Any]]:
    """The rows of reports, one after the other.

    Args:
        reports: any reports.

    Yields:
        A row with `FRONT` before its own fields; a number that is not finite is None.
    """
    names = [field.name for field in dataclasses.fields(Row)]
    for report in reports:
        before = front(report)
        for row in report.rows:
            yield finite({**before, **{name: getattr(row, name) for name in names}})


def cell(value: object) -> object:
    """A value as `csv` is to write it: floats by repr, texts made safe, nothing for None and what is not finite.

    Args:
        value: a text, a number or None.

    Returns:
        The same, or what is to stand in its place.

    Example:
        >>> cell("=1+1")
        "'=1+1"
    """
    if isinstance(value, str):
        text = display_name(value)
        return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
