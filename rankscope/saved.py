"""Saved reports: the door through which a report comes back from its JSON file. No torch is imported here."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rankscope.errors import CannotMeasure
from rankscope.plain import Malformed, wrong
from rankscope.records import SCHEMA, Report
from rankscope.sums import is_packed, unpacked

if TYPE_CHECKING:
    from rankscope.records import Row, Vector
    from rankscope.sums import Sums

UPGRADE = ("Read it with a newer rankscope", "python -m pip install --upgrade rankscope")
_KINDS = {
    "rankscope.report": "a report",
    "rankscope.baseline": "a baseline",
    "rankscope.certificate": "a certificate",
    "rankscope.comparison": "a comparison",
    "rankscope.check": "what a check found",
    "rankscope.inspection": "what inspect found",
    "rankscope.sweep": "a sweep",
}
_USES = {
    "rankscope.baseline": ("Count drops from it", "rankscope check REPORT --max-drop effective_rank=10% --baseline {}"),
    "rankscope.certificate": ("Show the certificate", "rankscope report {}"),
    "rankscope.comparison": ("Compare the reports anew", "rankscope compare A.json vs B.json"),
    "rankscope.check": ("Check the report that it is about", "rankscope check REPORT --min mu_bar=0.05@last"),
    "rankscope.inspection": ("Measure the model", "rankscope probe MODEL -o REPORT.json"),
    "rankscope.sweep": ("Write a report for each point", "rankscope sweep MODEL … -o DIR/"),
}


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
            if is_packed(start):
                return True
            # A file of safetensors may begin with this sign by chance; its eight bytes of length hold zeros.
            text_of_json = start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and b"\0" not in start
            return text_of_json or path.suffix.lower() == ".json"
    except (OSError, ValueError):
        return False
    return path.suffix.lower() == ".json"


def load(path: str | Path) -> Report:
    """Read a report that was saved as JSON, or as safetensors with the sums of its pools.

    Args:
        path: the file.

    Returns:
        The report, equal to the one that was saved.

    Raises:
        CannotMeasure: the file cannot be read, is no report, was cut short, or has another schema version.
    """
    path, text = Path(path), ""
    try:
        text, sums = _content(path)
        report = replace(Report.from_json(text), sums=sums)
        _check(report)
    except OSError as error:
        look = [("Look what is there", f"ls -l {path.parent}")]
        raise CannotMeasure("RS605", f"{path} was not read: {error.strerror or error}", remedies=look) from error
    except (CannotMeasure, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        refusal = _refused(path, text, error)
        raise refusal from error
    return report


def _content(path: Path) -> tuple[str, tuple[Sums, ...]]:
    """The text of a report and its sums; of JSON, none."""
    with path.open("rb") as file:
        kept = is_packed(file.read(64))
    if not kept and path.suffix.lower() == ".safetensors":
        raise Malformed("a file of safetensors that holds no report, or was cut short")
    return unpacked(path) if kept else (path.read_text(encoding="utf-8"), ())


def schema(text: str) -> str:
    """What a text says that it is.

    Args:
        text: of a file.

    Returns:
        Such as ``rankscope.report/1``; empty where the text is no JSON, or says nothing.

    Example:
        >>> schema('{"schema": "rankscope.baseline/1"}'), schema("[]")
        ('rankscope.baseline/1', '')
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    found = data.get("schema") if isinstance(data, dict) else None
    return found if isinstance(found, str) else ""


def kind(text: str) -> str | None:
    """Which file of rankscope a text is.

    Args:
        text: of a file.

    Returns:
        Words such as ``a report``, or None.

    Example:
        >>> kind('{"schema": "rankscope.baseline/1"}')
        'a baseline'
    """
    return _KINDS.get(schema(text).partition("/")[0])


def _refused(path: Path, text: str, error: Exception) -> CannotMeasure:
    """The error for a file that is no report, with what it is for; no step of it writes to an existing file."""
    name, _, version = schema(text).partition("/")
    if name in _USES:
        label, command = _USES[name]
        remedies = [(label, command.format(shlex.quote(str(path))))]
        return CannotMeasure("RS602", f"{path}: not a report, but {_KINDS[name]}", remedies=remedies)
    code, told = (
        (error.code, error.headline) if isinstance(error, CannotMeasure) else ("RS602", f"not a report: {wrong(error)}")
    )
    newer = code == "RS603" and version > SCHEMA.partition("/")[2]
    anew = ("Measure anew, to a new file", "rankscope probe MODEL -o NEW.json")
    return CannotMeasure(code, f"{path}: {told}", details=_told(path), remedies=[UPGRADE if newer else anew])


def _told(path: Path) -> list[tuple[str, str]]:
    """What helps where another format of the same report was given."""
    whole = path.suffix.lower() in {".json", ".safetensors"}
    note = "only a report saved as .json or .safetensors is read back; CSV and Markdown leave parts out"
    return [] if whole else [("note", note)]


def _check(report: Report) -> None:
    """Refuse what no version writes; what reads it later must not trip over it, or pass it."""
    _check_facts(report)
    for row in report.rows:
        _check_key(row)
        beside = (row.min, row.max, row.std, row.error, row.ceiling, row.reference, row.floor)
        for value in (row.value, *beside, *row.samples):
            _check_number(row, value)
        if not all(isinstance(number, int) and number >= 0 for number in (row.sequences, row.tokens)):
            raise Malformed(f"a row of no number of sequences or tokens: {row.key}")
        if row.samples and len(row.samples) != row.sequences:
            raise Malformed(f"a row of {row.sequences} sequences with {len(row.samples)} samples: {row.key}")
        if row.status == "ok" and row.value is None:
            raise Malformed(f"a row of status ok without a value: {row.key}")
    for vector in report.spectra:
        _check_key(vector)
        _check_number(vector, vector.error)
        for sample in vector.samples:
            if sample is not None and not isinstance(sample, tuple):
                raise Malformed(f"a spectrum that is no list of numbers: {vector.key}")
            for value in sample or ():
                _check_number(vector, math.nan if value is None else value)
        if vector.status == "ok" and not all(vector.samples or (None,)):
            raise Malformed(f"a spectrum of status ok without numbers: {vector.key}")


def _check_facts(report: Report) -> None:
    """Refuse facts that are no objects, notes without a text, and layers without a name."""
    for name in ("model", "inputs", "environment"):
        if not isinstance(getattr(report, name), dict):
            raise Malformed(f"{name} is no object")
    coverage = report.coverage
    if not isinstance(coverage.skipped, dict) or not all(isinstance(why, str) for why in coverage.skipped.values()):
        raise Malformed("coverage.skipped is no object of texts")
    counts = (coverage.found, coverage.hooked, coverage.fired, coverage.measured)
    if not all(isinstance(count, int) for count in counts):
        raise Malformed("coverage without counts")
    for note in report.notes:
        if not isinstance(note.code, str) or not isinstance(note.text, str):
            raise Malformed(f"a note without code or text: {note}")
    for layer in report.layers:
        if not isinstance(layer.stack, str) or not isinstance(layer.name, str) or not isinstance(layer.index, int):
            raise Malformed(f"a layer without stack, index or name: {layer}")
        if not isinstance(layer.shape, tuple) or not all(isinstance(size, int) for size in layer.shape):
            raise Malformed(f"a layer of no shape: {layer}")


def _check_key(row: Row | Vector) -> None:
    """Refuse what is measured nowhere, or has no known status."""
    if not isinstance(row.stack, str) or not isinstance(row.layer, str) or not isinstance(row.measure, str):
        raise Malformed(f"a row without stack, layer or measure: {row.key}")
    if not isinstance(row.layer_index, int) or row.status not in {"ok", "undefined", "skipped", "error"}:
        raise Malformed(f"a row with a wrong layer_index or status: {row.key}")
    if not isinstance(row.head, int | None) or not all(isinstance(t, str | None) for t in (row.parameter, row.reason)):
        raise Malformed(f"a row with a wrong head, parameter or reason: {row.layer} {row.measure}")


def _check_number(row: Row | Vector, value: object) -> None:
    """Refuse what is no finite number."""
    if value is not None and (not isinstance(value, (int, float)) or not math.isfinite(value)):
        raise Malformed(f"a row with a number that is none: {row.key}")
