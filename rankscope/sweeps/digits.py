"""Digits: numbers as a reader meets them, with at most four that count; the JSON has them whole."""

from __future__ import annotations

import re

from rankscope.requirements.grammar import spelt

DIGITS = 4
_FRACTION = re.compile(r"(?<![\w.])[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")
_NEXT = re.compile(r"\+(?=[A-Za-z_])")


def brief(value: float | str) -> str:
    """A value with at most four digits that count; whole numbers and words as they are.

    Args:
        value: a number or a word.

    Returns:
        Its text.

    Example:
        >>> brief(-0.512820512821), brief(20.0), brief(123456.0), brief(2.5), brief("pre")
        ('-0.5128', '20', '123456', '2.5', 'pre')
    """
    if isinstance(value, str):
        return value
    whole, short = spelt(value), f"{value:.{DIGITS}g}"
    return whole if value.is_integer() or len(whole) <= len(short) else short


def brief_edit(text: str) -> str:
    """Edits as a sentence holds them: short numbers, and a space where a line may end.

    Args:
        text: as they are typed after a model.

    Returns:
        The same edits, to four digits.

    Example:
        >>> brief_edit("lambda_skip=-0.512820512821@1..3+drop@4")
        'lambda_skip=-0.5128@1..3 + drop@4'
    """
    return _NEXT.sub(" + ", _FRACTION.sub(lambda found: brief(float(found[0])), text))


def between(low: float, high: float) -> float:
    """The middle of two numbers to four digits, so that what is shown is what was measured.

    Args:
        low: one end.
        high: the other.

    Returns:
        A number strictly between them; the first where four digits tell none.

    Example:
        >>> between(1.0, 2.33333), between(1.0001, 1.0002)
        (1.667, 1.0001)
    """
    middle = float(f"{(low + high) / 2:.{DIGITS}g}")
    return middle if min(low, high) < middle < max(low, high) else low
