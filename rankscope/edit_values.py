"""Values of edits: what a text means to an argument, and which numbers it takes; without torch."""

from __future__ import annotations

import ast
import difflib
import math
from typing import TYPE_CHECKING, Any

from rankscope.errors import UsageError
from rankscope.registry import unknown_name

if TYPE_CHECKING:
    from rankscope.declarations import Declaration

_FORM = ("form", "EDIT=value,value@LAYERS, such as lambda_skip=1.5@6..8")
_SWITCH = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
_EXPECTED = {"int": "a whole number", "float": "a finite number", "Number": "a finite number", "bool": "on or off"}
_WORDS = {**_EXPECTED, "Numbers": "finite numbers"}


def read_value(text: str, name: str, values: list[str], kind: str) -> Any:
    """What a text of values means to an argument.

    Args:
        text: the whole edit, for the error.
        name: of the argument.
        values: what was typed for it, cut at the commas.
        kind: its annotation.

    Returns:
        The value; for `Numbers` a tuple.

    Raises:
        UsageError: it cannot be read.

    Example:
        >>> read_value("noise=0.1", "sigma", ["0.1"], "Number")
        0.1
    """
    if kind == "Numbers":
        return tuple(read_value(text, name, [value], "float") for value in values)
    value = ",".join(values)
    if kind.startswith("Literal["):
        choices = ast.literal_eval(f"({kind.removeprefix('Literal[').removesuffix(']')},)")
        if value not in choices:
            error = unknown_name(f"value of {name}:", value, list(choices))
            raise error
        return value
    found = _SWITCH.get(value.lower()) if kind == "bool" else _number(value, kind)
    if found is None:
        near = difflib.get_close_matches(value, _SWITCH) if kind == "bool" else []
        hint = f" (did you mean {near[0]}?)" if near else ""
        error = wrong(text, f"{name} is {value!r}, expected {_WORDS[kind]}{hint}")
        raise error
    return found


def _number(value: str, kind: str) -> float | None:
    try:
        number = int(value) if kind == "int" else float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def check_number(declared: Declaration, name: str, number: float, text: str) -> None:
    """Refuse a number that an edit does not take; text and Python are held to the same.

    Args:
        declared: what is declared of the edit.
        name: of the argument.
        number: its value, or one of its values.
        text: the edit, for the error.

    Raises:
        UsageError: it is not finite, or too small.
    """
    least = declared.keywords.get("least", {}).get(name)
    if not math.isfinite(number):
        error = wrong(text, f"{name} is {number}, expected a finite number")
        raise error
    if least is not None and number < least:
        error = wrong(text, f"{name} is {number:g}, expected {least:g} and above")
        raise error


def wrong(text: str, why: str) -> UsageError:
    """The error for an edit that cannot be read.

    Args:
        text: the edit.
        why: what is wrong with it.

    Returns:
        The error, to be raised by the caller.
    """
    return UsageError("RS130", f"edit {text!r} was not read: {why}", remedies=[_FORM])
