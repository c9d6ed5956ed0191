"""The numbers of the page as plain data, which it holds as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rankscope.plain import finite
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Report
    from rankscope.renderers._page.reading import Measured, Strand

_DIGITS = 5


def embedded(reports: Sequence[Report], strands: Sequence[Strand], measured: Sequence[Measured]) -> dict[str, Any]:
    """Every number of the full table with five digits, by strand and measure; null where there is none.

    Args:
        reports: the reports of the page.
        strands: their strands.
        measured: the measures.

    Returns:
        Nested dicts and lists that JSON can hold.
    """
    data: dict[str, Any] = {
        "schema": "rankscope.page/1",
        "reports": [
            {
                "model": dict(report.model),
                "inputs": dict(report.inputs),
                "environment": dict(report.environment),
                "created": report.created,
                "rankscope": report.rankscope,
            }
            for report in reports
        ],
        "stacks": [
            {
                "name": strand.name,
                "report": next(i for i, report in enumerate(reports) if report is strand.report),
                "stack": display_name(strand.table.stack),
                "layer_index": strand.table.index,
                "layer": [display_name(name) for name in strand.table.names],
                "measures": {
                    each.label: [_rounded(value) for value in curve.values]
                    for each in measured
                    for curve in each.curves
                    if curve.strand is strand
                },
            }
            for strand in strands
        ],
    }
    plain: dict[str, Any] = finite(data)
    return plain


def _rounded(value: float | None) -> float | int | None:
    """Five digits; a whole number without its point, to keep the page small."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
