"""Plain data: what JSON can hold, from records and back to them."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Malformed(ValueError):  # noqa: N818 - reads as the sentence it is
    """Data that no version writes; the text says what is wrong with it, in the words of the file."""


def wrong(error: Exception) -> str:
    """What is wrong with a file of JSON, for a person and without a name of Python.

    Args:
        error: what reading it raised.

    Returns:
        Words that follow a colon.

    Example:
        >>> try:
        ...     json.loads("[1,")
        ... except ValueError as error:
        ...     wrong(error)
        'it is no JSON from line 1 on'
    """
    if isinstance(error, Malformed):
        return str(error)[:200]
    if isinstance(error, json.JSONDecodeError):
        if not error.doc.strip():
            return "it is empty"
        conflict = "a merge conflict was left in it" if "<<<<<<< " in error.doc else "it is no JSON"
        return f"{conflict}{'' if 'merge' in conflict else f' from line {error.lineno} on'}"
    if isinstance(error, UnicodeDecodeError):
        return "it is no text"
    return "it is nested too deeply" if isinstance(error, RecursionError) else "a part of it is of a wrong kind"


def now() -> str:
    """The time in UTC, as every file says it, such as 2026-11-22T19:00:00Z."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def part(data: Mapping[str, Any], name: str) -> Any:
    """One part of an object of a file.

    Args:
        data: the object.
        name: of the part.

    Returns:
        The part.

    Raises:
        Malformed: there is none.
    """
    if not isinstance(data, Mapping) or name not in data:
        raise Malformed(f"it holds no {name!r}")
    return data[name]


def listed(kind: type[T], data: Mapping[str, Any], name: str) -> tuple[T, ...]:
    """The records of a list in a file.

    Args:
        kind: a dataclass.
        data: the object that the list is a part of.
        name: of the list.

    Returns:
        The records.

    Raises:
        Malformed: there is no such list, or one of its entries is none of the kind; the error says which.
    """
    entries, found = part(data, name), []
    if not isinstance(entries, list):
        raise Malformed(f"{name!r} is no list")
    for number, entry in enumerate(entries, 1):
        try:
            found.append(build(kind, entry))
        except Malformed as error:
            raise Malformed(f"entry {number} of {name!r}: {error}") from error
    return tuple(found)


def build(kind: type[T], data: Mapping[str, Any]) -> T:
    """A record of plain data; lists become tuples, and a field that this version does not know is left out.

    Args:
        kind: a dataclass.
        data: its fields.

    Returns:
        The record.

    Raises:
        Malformed: the data are no object, or a field is missing.

    Example:
        >>> @dataclasses.dataclass
        ... class Point:
        ...     x: tuple[int, ...]
        >>> build(Point, {"x": [1, 2], "new": 3})
        Point(x=(1, 2))
    """
    if not isinstance(data, Mapping):
        raise Malformed("it is no object")
    every = dataclasses.fields(kind)  # type: ignore[arg-type]
    known = {f.name for f in every}
    try:
        return kind(**{k: _frozen(v) for k, v in data.items() if k in known})
    except TypeError as error:
        needed = [f.name for f in every if f.default is dataclasses.MISSING is f.default_factory]
        raise Malformed(f"it holds no {', '.join(repr(name) for name in needed if name not in data)}") from error


def _frozen(data: Any) -> Any:
    """Lists, also those inside lists, as tuples."""
    return tuple(map(_frozen, data)) if isinstance(data, list) else data


def finite(data: Any) -> Any:
    """The same data with null for every number that JSON cannot hold.

    Args:
        data: nested dicts, lists, tuples and scalars.

    Returns:
        Nested dicts, lists and scalars.

    Example:
        >>> finite({"a": (1.5, float("nan"))})
        {'a': [1.5, None]}
    """
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return data
