"""Cells of a comparison in words: a number, the mark of a floor, or a dash with the reason; never a silent gap."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rankscope.comparison.missing import why
from rankscope.renderers._comparison import sign
from rankscope.renderers._screen import plain, raised
from rankscope.table import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.comparison import Difference
    from rankscope.renderers._comparison import Column

FLOOR = "at or below the noise floor: smaller values cannot be told apart, and a ratio with them says nothing"


@dataclass(slots=True)
class Marks:
    """What the marks of missing numbers mean, each reason once and numbered in the order of appearance."""

    unicode: bool = True
    reasons: list[str] = field(default_factory=list)
    floor: bool = False

    @property
    def dash(self) -> str:
        """What stands where there is no number."""
        return "—" if self.unicode else "--"

    def missing(self, reason: str) -> str:
        """The mark of a reason.

        Args:
            reason: why there is no number.

        Returns:
            Raised digits.
        """
        text = plain(reason or "undefined")
        if text not in self.reasons:
            self.reasons.append(text)
        return raised(self.reasons.index(text) + 1, self.unicode)

    def at_floor(self, text: str, low: bool) -> str:
        """A number, marked where it is at its floor.

        Args:
            text: the number.
            low: whether it is.

        Returns:
            The text.
        """
        self.floor |= low
        return (("≤" if self.unicode else "<") if low else "") + text

    def legend(self) -> list[tuple[str, str]]:
        """What the marks that were used mean.

        Returns:
            Pairs (mark, meaning).
        """
        told = [(raised(i + 1, self.unicode), reason) for i, reason in enumerate(self.reasons)]
        return told + ([("≤" if self.unicode else "<", FLOOR)] if self.floor else [])


def texts(column: Column, lines: Sequence[int], marks: Marks) -> list[list[str]]:
    """The numbers of one measure at some lines, with the signs of the differences.

    Args:
        column: one measure.
        lines: which ones.
        marks: takes the reasons of what is missing.

    Returns:
        For each subject its texts, the reference first.
    """
    values = [[of_one[i] for i in lines] for of_one in column.values]
    flat = numbers([value for of_one in values for value in of_one])
    shown = [flat[j * len(lines) : (j + 1) * len(lines)] for j in range(len(values))]
    found = [
        _with_room([(_reference(text, column.cells[i], marks), "") for text, i in zip(shown[0], lines, strict=True)])
    ]
    for j, of_one in enumerate(shown[1:]):
        entries = [column.cells[i][j] for i in lines]
        found.append(_with_room([other(text, entry, marks) for text, entry in zip(of_one, entries, strict=True)]))
    return found


def _with_room(cells: Sequence[tuple[str, str]]) -> list[str]:
    """Numbers with their signs, so that the points stand below each other."""
    room = any(after for _, after in cells)
    return [text + (after or " ") * (room and bool(text)) for text, after in cells]


def _reference(text: str, cells: Sequence[Difference | None], marks: Marks) -> str:
    """The number of the reference."""
    entries = [entry for entry in cells if entry is not None]
    if not entries:
        return text
    return reference(text, entries[0], marks)


def reference(text: str, entry: Difference, marks: Marks) -> str:
    """The number of the reference.

    Args:
        text: the number, or nothing.
        entry: a difference from it.
        marks: takes the reason if it is missing.

    Returns:
        The text.
    """
    if entry.reference is None:
        return marks.dash + marks.missing(why(entry, 0))
    return marks.at_floor(text, entry.at_floor in {"reference", "both"})


def other(text: str, entry: Difference | None, marks: Marks) -> tuple[str, str]:
    """The number beside the reference.

    Args:
        text: the number, or nothing.
        entry: the difference.
        marks: takes the reason if it is missing.

    Returns:
        The text, and its sign or the mark of the reason.
    """
    if entry is None:
        return text, ""
    if entry.other is None:
        return marks.dash, marks.missing(why(entry, 1))
    text = marks.at_floor(text, entry.at_floor in {"other", "both"})
    if entry.outcome == "undefined" and entry.reference is not None:
        return text, marks.missing(entry.reason or "")
    return text, sign(entry, marks.unicode)
