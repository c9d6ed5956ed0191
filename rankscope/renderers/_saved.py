"""Saved reports: whether what was read back can have been written by a report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankscope.records import Report, Row, Vector


def check_rows(report: Report) -> None:
    """Refuse rows and spectra that no version writes; what reads them later must not trip over them, or pass them.

    Args:
        report: as `Report.from_json` gave it.

    Raises:
        TypeError: a name or a list is of another kind.
        ValueError: a status, an index or a number that cannot be.
    """
    for row in report.rows:
        _check_key(row)
        beside = (row.min, row.max, row.std, row.error, row.ceiling, row.reference, row.floor)
        for value in (row.value, *beside, *row.samples):
            _check_number(row, value)
        if row.status == "ok" and row.value is None:
            raise ValueError(f"a row of status ok without a value: {row.key}")
    for vector in report.spectra:
        _check_key(vector)
        _check_number(vector, vector.error)
        for sample in vector.samples:
            if sample is not None and not isinstance(sample, tuple):
                raise TypeError(f"a spectrum that is no list of numbers: {vector.key}")
            for value in sample or ():
                _check_number(vector, math.nan if value is None else value)
        if vector.status == "ok" and not all(vector.samples or (None,)):
            raise ValueError(f"a spectrum of status ok without numbers: {vector.key}")


def _check_key(row: Row | Vector) -> None:
    """Refuse what is measured nowhere, or has no known status."""
    if not isinstance(row.stack, str) or not isinstance(row.layer, str) or not isinstance(row.measure, str):
        raise TypeError(f"a row without stack, layer or measure: {row.key}")
    if not isinstance(row.layer_index, int) or row.status not in {"ok", "undefined", "skipped", "error"}:
        raise ValueError(f"a row with a wrong layer_index or status: {row.key}")


def _check_number(row: Row | Vector, value: object) -> None:
    """Refuse what is no finite number."""
    if value is not None and (not isinstance(value, (int, float)) or not math.isfinite(value)):
        raise ValueError(f"a row with a number that is none: {row.key}")
