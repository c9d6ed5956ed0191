"""Names of measures in rules: what reports and tables call them, and which rows of a report they stand for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankscope.records import Row

_HEAD = re.compile(r"head(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Name:
    """A measure of each sequence or pooled, of all heads together, of each or of one, or of cross-attention."""

    measure: str
    pooled: bool = False
    cross: bool = False
    heads: bool = False
    head: int | None = None

    @classmethod
    def of(cls, text: str) -> Name:
        """Read ``pooled:NAME``, ``cross:NAME``, ``head:NAME``, ``NAME:head3`` or ``NAME``.

        Args:
            text: what stands in a rule.

        Returns:
            The name; of an unknown prefix it is part of the measure, which then nobody knows.

        Example:
            >>> Name.of("value_cosine:head3").head, Name.of("pooled:effective_rank").request
            (3, 'pooled:effective_rank')
        """
        *before, name = text.split(":")
        head = _HEAD.fullmatch(name) if before else None
        if head:
            *before, name = before
        strange = [word for word in before if word not in {"pooled", "cross", "head"}]
        number = int(head[1]) if head else None
        return cls(":".join([*strange, name]), "pooled" in before, "cross" in before, "head" in before, number)

    def fits(self, row: Row) -> bool:
        """Whether a row of a report is of this name.

        Args:
            row: of a report.

        Returns:
            True where measure, scope, head and kind of attention agree.
        """
        each = self.heads and self.head is None
        heads = row.head is not None if each else row.head == self.head
        return (
            row.measure == self.measure
            and heads
            and (row.scope == "pooled") == self.pooled
            and _is_cross(row) == self.cross
        )

    def labels(self, text: str) -> bool:
        """Whether a text that `label` gave for a row is of this name.

        Args:
            text: such as ``value_cosine:head0``.

        Returns:
            As `fits` says of the row.
        """
        other = Name.of(text.partition(" ")[0])
        heads = other.head is not None if self.heads and self.head is None else other.head == self.head
        return heads and (other.measure, other.pooled, other.cross) == (self.measure, self.pooled, self.cross)

    @property
    def partial(self) -> bool:
        """Whether some layers have none by nature: those without heads, or without cross-attention."""
        return self.cross or self.heads or self.head is not None

    @property
    def request(self) -> str:
        """What `--measures` calls it."""
        before = "pooled:" if self.pooled else "head:" if self.heads or self.head is not None else ""
        return f"{before}{self.measure}"


def label(row: Row) -> str:
    """The name of a row within its layer, such as ``pooled:effective_rank`` or ``value_cosine:head0``.

    Args:
        row: of a report.

    Returns:
        What tells it from the other rows of its layer; the name of a weight in it is untrusted text.
    """
    cross = _is_cross(row)
    before = ("pooled:" if row.scope == "pooled" else "") + ("cross:" if cross else "")
    after = "" if row.head is None else f":head{row.head}"
    return f"{before}{row.measure}{after}" + (f" {row.parameter}" if row.parameter and not cross else "")


def _is_cross(row: Row) -> bool:
    return row.parameter == "cross" and row.site != "weight_gradient"
