"""Joining: what two runs of one sweep have in common, and the values of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.sweeps.axes import Axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.sweeps.axes import Template


def frame(edit: Template) -> str:
    """An edit without the values that are swept, in which two runs of one sweep agree.

    Args:
        edit: as it was typed.

    Returns:
        Its text with a sign for each value.

    Example:
        >>> from rankscope.sweeps.axes import template
        >>> frame(template("lambda_skip=1:3:3@2")), frame(template("drop@*"))
        ('lambda_skip=…@2', 'drop@…')
    """
    texts = []
    for part in edit.parts:
        words = "".join(piece if isinstance(piece, str) else "…" for piece in part.pieces)
        place = "…" if isinstance(part.place, int) else part.place
        texts.append(words if place is None else f"{words}@{place}")
    return "+".join(texts)


def joined(axes: Sequence[Axis], earlier: Sequence[Axis]) -> tuple[Axis, ...]:
    """The same axes with the values of both runs.

    Args:
        axes: of this run.
        earlier: of an earlier one, with the same names.

    Returns:
        Numbers in ascending order; words in that of this run, then those of the earlier one.

    Example:
        >>> joined([Axis("depth", (4.0, 2.0))], [Axis("depth", (3.0,))])[0].values
        (2.0, 3.0, 4.0)
    """
    found = []
    for axis, other in zip(axes, earlier, strict=True):
        more = [value for value in other.values if value not in axis.values]
        numbers = [value for value in (*axis.values, *more) if isinstance(value, float)]
        words = [value for value in (*axis.values, *more) if isinstance(value, str)]
        found.append(Axis(axis.name, (*sorted(numbers), *words), axis.selector) if more else axis)
    return tuple(found)
