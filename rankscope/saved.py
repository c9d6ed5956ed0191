"""Saved reports: the door through which a report comes back from its JSON file. No torch is imported here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from rankscope.errors import CannotMeasure
from rankscope.records import Report

if TYPE_CHECKING:
    from rankscope.records import Row, Vector


def is_saved(text: str | Path) -> bool:
    """Whether a word of the command line names a saved report and not a model; a file is judged by its beginning.

    Args:
        text: what the user typed.

    Returns:
        True for a file that begins as JSON does, and for the name of a ``.json`` file, also where it is missing.

    Example:
        >>> is_saved("baseline"), is_saved("runs/missing.json")
        (False, True)
    """
    path = Path(text)
    try:
        if path.is_dir():
            return False
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(64)
            # A file of safetensors may begin with this sign by chance; its eight bytes of length hold zeros.
            text_of_json = start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and b"\0" not in start
            return text_of_json or path.suffix.lower() == ".json"
    except (OSError, ValueError):
        return False
    return path.suffix.lower() == ".json"


def load(path: str | Path) -> Report:
    """Read a report that was saved as JSON.

    Args:
        path: the file.

    Returns:
        The report, equal to the one that was saved.

    Raises:
        CannotMeasure: the file cannot be read, is no report, was cut short, or has another schema version.
    """
    path = Path(path)
    try:
        report = Report.from_json(path.read_text(encoding="utf-8"))
        _check(report)
    except OSError as error:
        look = [("Look what is there", f"ls -l {path.parent}")]
        raise CannotMeasure("RS605", f"{path} was not read: {error.strerror or error}", remedies=look) from error
    except CannotMeasure as error:
        anew = [("Measure anew", f"rankscope probe MODEL -o {path.with_suffix('.json')}")]
        headline = f"{path}: {error.headline}"
        raise CannotMeasure(error.code, headline, details=_told(path), remedies=anew) from error
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        headline = f"{path}: not a report: {type(error).__name__}: {str(error)[:200]}"
        raise CannotMeasure("RS602", headline, details=_told(path)) from error
    return report


def _told(path: Path) -> list[tuple[str, str]]:
    """What helps where another format of the same report was given."""
    json = path.suffix.lower() == ".json"
    return [] if json else [("note", "only a report saved as .json is read back; CSV and Markdown leave parts out")]


def _check(report: Report) -> None:
    """Refuse what no version writes; what reads it later must not trip over it, or pass it."""
    _check_facts(report)
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


def _check_facts(report: Report) -> None:
    """Refuse facts that are no objects, and layers without a name."""
    for name in ("model", "inputs", "environment"):
        if not isinstance(getattr(report, name), dict):
            raise TypeError(f"{name} is no object")
    for layer in report.layers:
        if not isinstance(layer.stack, str) or not isinstance(layer.name, str) or not isinstance(layer.index, int):
            raise TypeError(f"a layer without stack, index or name: {layer}")


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
