"""Ranges: the values that a swept number takes, as they are typed."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from rankscope.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = float | str
MOST = 10_000  # points of one sweep; more is a slip of the keyboard

_NUMBER = r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*"
_WHOLE = re.compile(r"\s*([+-]?\d+)\s*:\s*([+-]?\d+)\s*", re.ASCII)
_SPACED = re.compile(rf"({_NUMBER}):({_NUMBER}):\s*(\d+)\s*", re.ASCII)
_FORMS = (
    ("So many from the first to the last", "-20:20:9"),
    ("Whole numbers from the first to the last", "0:4"),
    ("A list", "1,2,4"),
)


def is_range(text: str) -> bool:
    """Whether a text is meant as a range.

    Args:
        text: what was typed for a number.

    Returns:
        True where a colon stands in it.
    """
    return ":" in text


def values(text: str, where: str, whole: bool = False) -> tuple[Value, ...]:
    """The values that a text stands for, both ends included.

    Args:
        text: ``start:stop:count``, ``start:stop`` (whole numbers), or a list with commas of numbers or words.
        where: what takes the values, for the error.
        whole: whether only whole numbers are meant: those between are rounded, and each is taken once.

    Returns:
        At least one value: numbers as floats, words as they are.

    Example:
        >>> values("-20:20:5", "lambda_skip"), values("0:2", "seed"), values("pre,post", "norm")
        ((-20.0, -10.0, 0.0, 10.0, 20.0), (0.0, 1.0, 2.0), ('pre', 'post'))
        >>> values("2:24:4", "depth", whole=True)
        (2.0, 9.0, 17.0, 24.0)
    """
    if not is_range(text):
        return tuple(dict.fromkeys(_one(part, text, where) for part in text.split(",")))
    if found := _WHOLE.fullmatch(text):
        first, last = int(found[1]), int(found[2])
        count = abs(last - first) + 1
        _check_count(count, text, where)
        step = 1 if last >= first else -1
        return tuple(float(value) for value in range(first, last + step, step))
    if (spaced := _SPACED.fullmatch(text)) is None:
        error = _refused(text, where, "a range is START:STOP:COUNT or START:STOP of whole numbers")
        raise error
    low, high, count = float(spaced[1]), float(spaced[2]), int(spaced[3])
    _check_count(count, text, where)
    if not (math.isfinite(low) and math.isfinite(high) and math.isfinite(high - low)):
        error = _refused(text, where, "its ends are not finite")
        raise error
    if count == 1 and low != high:
        error = _refused(text, where, "one value cannot be both of its ends")
        raise error
    spread = [low + (high - low) * i / max(count - 1, 1) for i in range(count)]
    spread = [float(f"{value:.12g}") for value in spread[:-1]] + [high]  # 0.3, and no 0.30000000000000004
    return tuple(dict.fromkeys(float(round(value)) if whole else value + 0.0 for value in spread))


def runs(values: Mapping[int, float]) -> list[tuple[str, float]]:
    """Layers beside each other that share a value, as a selector says them.

    Args:
        values: of each layer, by its index.

    Returns:
        Pairs of layers and their value.

    Example:
        >>> runs({1: 2.0, 2: 2.0, 3: 5.0, 5: 5.0})
        [('1..2', 2.0), ('3', 5.0), ('5', 5.0)]
    """
    found: list[list[int]] = []
    for layer in sorted(values):
        beside = found and found[-1][-1] == layer - 1 and values[layer] == values[layer - 1]
        found = [*found[:-1], [*found[-1], layer]] if beside else [*found, [layer]]
    return [(str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}", values[run[0]]) for run in found]


def _check_count(count: int, text: str, where: str) -> None:
    """Refuse a range of nothing, and one that would never end."""
    if count < 1:
        error = _refused(text, where, "it holds no value")
        raise error
    if count > MOST:
        error = _refused(text, where, f"it holds {count:,} values; a sweep takes at most {MOST:,}")
        raise error


def _one(part: str, text: str, where: str) -> Value:
    """One value of a list: a number where it reads as one, else a word."""
    word = part.strip()
    if not word:
        error = _refused(text, where, "a value of the list is empty" if text.strip(" ,") else "it holds no value")
        raise error
    try:
        number = float(word)
    except ValueError:
        return word
    if not math.isfinite(number):
        error = _refused(text, where, f"{word} is no finite number")
        raise error
    return number + 0.0


def _refused(text: str, where: str, why: str) -> UsageError:
    return UsageError("RS470", f"{where}={text} is nothing that can be swept: {why}", remedies=_FORMS)
