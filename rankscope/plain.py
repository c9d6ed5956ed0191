"""Plain data: what JSON can hold, from records and back to them."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


def build(kind: type[T], data: Mapping[str, Any]) -> T:
    """A record of plain data; lists become tuples, and a field that this version does not know is left out.

    Args:
        kind: a dataclass.
        data: its fields.

    Returns:
        The record.

    Example:
        >>> @dataclasses.dataclass
        ... class Point:
        ...     x: tuple[int, ...]
        >>> build(Point, {"x": [1, 2], "new": 3})
        Point(x=(1, 2))
    """
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: _frozen(v) for k, v in data.items() if k in known})


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
