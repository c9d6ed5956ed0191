"""Plots in a terminal: curves over one axis, drawn with the signs that the screen has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.renderers._axis import Axis

MARKS, ASCII_MARKS = "●▲■◆○△□◇", "o^#*xv+%"
MOST = len(MARKS)  # curves of one plot that can be told apart


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: its name, and its points; None where there is no number."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]


def plot(
    series: Sequence[Series], axes: tuple[Axis, Axis], size: tuple[int, int], across: str, unicode: bool
) -> list[str]:
    """Curves as lines of text, the axis of y at the left.

    Args:
        series: at most `MOST` curves; those that come first are drawn on top.
        axes: of x and of y.
        size: columns and lines of the plot with its axes.
        across: what x is.
        unicode: whether the screen has more than ASCII.

    Returns:
        As many lines as asked, none wider than asked.

    Example:
        >>> from rankscope.renderers._axis import Axis
        >>> curve = Series("net", (0, 1, 2), (1.0, 0.5, 0.0))
        >>> for line in plot([curve], (Axis(0, 2), Axis(0, 1)), (24, 5), "layer k", False):
        ...     print(line.lstrip())
        1 |o....
        0.5 |     ...o....
        0 |             ....o
        +------------------
        0     1       2
    """
    labels = {tick: _text(tick) for tick in axes[1].ticks(4)}
    margin = max(map(len, labels.values()), default=1)
    width, height = max(size[0] - margin - 3, 8), max(size[1] - 2, 3)
    page = [[" "] * width for _ in range(height)]
    marks = MARKS if unicode else ASCII_MARKS
    for number, curve in reversed(list(enumerate(series))):
        _draw(page, curve, axes, marks[number % MOST], "·" if unicode else ".")
    rule = "│" if unicode else "|"
    rows = {round((1 - axes[1].at(tick)) * (height - 1)): text for tick, text in labels.items()}
    lines = [f"{rows.get(i, '').rjust(margin)} {rule}{''.join(line)}".rstrip() for i, line in enumerate(page)]
    corner = ("└" if unicode else "+") + ("─" if unicode else "-") * width
    return [*lines, " " * (margin + 1) + corner, " " * (margin + 2) + _below(axes[0], width, across)]


def _draw(page: list[list[str]], curve: Series, axes: tuple[Axis, Axis], mark: str, line: str) -> None:
    """One curve: marks at its points, and a line between neighbours."""
    width, height = len(page[0]), len(page)
    at = [
        None if y is None else (round(axes[0].at(x) * (width - 1)), (1 - axes[1].at(y)) * (height - 1))
        for x, y in zip(curve.x, curve.y, strict=True)
    ]
    for a, b in pairwise(at):
        if a is None or b is None:
            continue
        for column in range(a[0] + 1, b[0]):
            row = a[1] + (b[1] - a[1]) * (column - a[0]) / (b[0] - a[0])
            if page[round(row)][column] == " ":
                page[round(row)][column] = line
    for point in at:
        if point is not None:
            page[round(point[1])][point[0]] = mark


def _below(axis: Axis, width: int, across: str) -> str:
    """The numbers under the axis, and what they are, where they have the room."""
    line = [" "] * width
    for tick in axis.ticks(max(2, width // 12)):
        text = _text(tick)
        start = min(max(round(axis.at(tick) * (width - 1)) - len(text) // 2, 0), max(width - len(text), 0))
        if all(sign == " " for sign in line[max(start - 1, 0) : start + len(text) + 1]):
            line[start : start + len(text)] = text
    written = "".join(line).rstrip()
    return f"{written}  {across}" if len(written) + len(across) + 2 <= width else written


def _text(value: float) -> str:
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e5) and math.isfinite(size):
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return f"{value:.6g}"
