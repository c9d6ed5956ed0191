"""Reading: the door through which a certificate comes back from its JSON file. No torch is imported here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.certificate.records import SCHEMA, Block, Certificate, Measured, Sequence, Stack, Step, Theorem
from rankscope.errors import CannotMeasure
from rankscope.plain import Malformed, build, listed, part, wrong
from rankscope.records import Note
from rankscope.saved import UPGRADE, schema

if TYPE_CHECKING:
    from collections.abc import Mapping

_AGAIN = ("Certify the model again, to a new file", "rankscope certify MODEL -o NEW.json")


def is_certificate(path: str | Path) -> bool:
    """Whether a file says that it is a certificate, of whatever version.

    Args:
        path: of any file, or of none.

    Returns:
        True or False.

    Example:
        >>> is_certificate("missing.json")
        False
    """
    try:
        return schema(Path(path).read_text(encoding="utf-8")).startswith("rankscope.certificate/")
    except (OSError, ValueError):
        return False


def load_certificate(path: str | Path) -> Certificate:
    """Read a certificate that was saved as JSON.

    Args:
        path: the file.

    Returns:
        The certificate, equal to the one that was saved.

    Raises:
        CannotMeasure: the file is cut short, or of another schema version.
    """
    text = Path(path).read_text(encoding="utf-8")
    if schema(text) != SCHEMA:
        told = f"{path}: not a certificate this version can read: schema {schema(text)!r}, expected {SCHEMA!r}"
        raise CannotMeasure("RS603", told, remedies=[UPGRADE if schema(text) > SCHEMA else _AGAIN])
    try:
        return _certificate(json.loads(text))
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        headline = f"{path}: not a certificate: {wrong(error)}"
        raise CannotMeasure("RS602", headline, remedies=[_AGAIN]) from error


def _certificate(data: Mapping[str, Any]) -> Certificate:
    parts = {"stacks": tuple(map(_stack, part(data, "stacks"))), "notes": listed(Note, data, "notes")}
    return build(Certificate, {**data, **parts})


def _stack(data: Mapping[str, Any]) -> Stack:
    sequences = tuple(map(_sequence, part(data, "sequences")))
    if not sequences:
        raise Malformed("a stack has no sequence")
    return build(Stack, {**data, "blocks": listed(Block, data, "blocks"), "sequences": sequences})


def _sequence(data: Mapping[str, Any]) -> Sequence:
    steps = listed(Step, data, "steps")
    if not steps:
        raise Malformed("a sequence has no step")
    measured = {name: build(Measured, part(data, name)) for name in ("additive", "seminorm")}
    return build(Sequence, {**data, **measured, "theorem": build(Theorem, part(data, "theorem")), "steps": steps})
