"""Reading a baseline back: what it must hold, and what to do about a file that is damaged or is something else."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rankscope.errors import UsageError
from rankscope.plain import Malformed, part, wrong
from rankscope.requirements.baseline import NAME, SCHEMA, Baseline, Recorded
from rankscope.saved import UPGRADE, kind, schema

if TYPE_CHECKING:
    from pathlib import Path


def read_baseline(path: Path, subject: str | None = None) -> Baseline:
    """Read a baseline.

    Args:
        path: the file.
        subject: what is held against it, for the command that would record it anew.

    Returns:
        The baseline.

    Raises:
        UsageError: it cannot be read, is none, or is one of another schema.
    """
    record = _recording(path, subject)
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        return replace(_built(json.loads(text)), record=record)
    except FileNotFoundError as error:
        headline = f"{path} was not read: there is no such baseline"
        raise UsageError("RS640", headline, remedies=[("Record one", record)]) from error
    except OSError as error:
        look = [("Look what is there", f"ls -l {path.parent}")]
        raise UsageError("RS640", f"{path} was not read: {error.strerror or error}", remedies=look) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        refusal = _refused(path, text, error, record)
        raise refusal from error


def replaced(path: Path) -> Baseline | None:
    """What a new baseline will take the place of.

    Args:
        path: where it will be written.

    Returns:
        The baseline that is there; None for no file, or one that is damaged.

    Raises:
        UsageError: the file is something else, which would be lost.
    """
    try:
        return read_baseline(path)
    except UsageError:
        if not path.exists():
            return None
        if not path.is_file() or not _is_damaged(path.read_bytes().decode(errors="replace")):
            raise
        return None


def _is_damaged(text: str) -> bool:
    """Whether a text is what is left of a baseline: empty, cut short, or with a merge conflict in it."""
    begun = Baseline(None, None, None, {}, ()).to_json()[:20]
    ours = not text.strip() or text.startswith(begun) or f'"{SCHEMA}"' in text
    return ours and schema(text) in {"", SCHEMA}  # one of another version is whole


def _recording(path: Path, subject: str | None) -> str:
    """The command that records a baseline at a path."""
    place = "" if str(path) == NAME else f" --baseline {shlex.quote(str(path))}"
    return f"rankscope check {shlex.quote(subject) if subject else 'REPORT'}{place} --update-baseline"


def _refused(path: Path, text: str, error: Exception, record: str) -> UsageError:
    """The error for a file that is no baseline; a file of another kind is named, and left as it is."""
    name = schema(text).partition("/")[0]
    if name == SCHEMA.partition("/")[0] and schema(text) != SCHEMA:
        headline = f"{path} is no baseline that this version reads: its schema is {schema(text)}, not {SCHEMA}"
        return UsageError("RS640", headline, remedies=[UPGRADE])
    if name != SCHEMA.partition("/")[0] and (found := kind(text)):
        new = NAME if path.name != NAME else "NEW.json"
        command = f"rankscope check {shlex.quote(str(path))} --baseline {new} --update-baseline"
        remedies = (
            [("Make a baseline of it", command)]
            if found == "a report"
            else [("Name another file", f"--baseline {NAME}")]
        )
        return UsageError("RS640", f"{path} is no baseline, but {found}", remedies=remedies)
    remedies = [
        ("Take the one of the last commit", f"git checkout {shlex.quote(str(path))}"),
        ("Record it anew", record),
    ]
    return UsageError("RS640", f"{path} is no baseline: {wrong(error)}", remedies=remedies)


def _built(data: dict[str, Any]) -> Baseline:
    """The record of plain data; anything that is not as it is written raises."""
    if part(data, "schema") != SCHEMA:
        raise Malformed(f"its schema is not {SCHEMA}")
    layers = []
    for number, entry in enumerate(part(data, "layers"), 1):
        values = {name: _number(name, value) for name, value in part(entry, "values").items()}
        stack, name, index = (part(entry, key) for key in ("stack", "name", "index"))
        if not isinstance(stack, str) or not isinstance(name, str) or not isinstance(index, int):
            raise Malformed(f"entry {number} of 'layers' has no stack, name or index")
        layers.append(Recorded(stack, index, name, values))
    inputs, dtype = part(data, "inputs"), part(part(data, "environment"), "dtype")
    mark, source = part(inputs, "sha256"), inputs.get("source")  # older ones have no source
    return Baseline(part(data, "model"), mark, dtype, dict(part(data, "versions")), tuple(layers), source)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Malformed(f"{name} is {value!r}, and no number")
    return float(value)
