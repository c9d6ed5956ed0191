"""Selectors: which layers of a stack are meant, as it is written after ``@`` in rules and edits."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rankscope.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_RANGE = re.compile(r"(\d+)(?:\.\.(\d+))?", re.ASCII)
_QUOTES = "\"'"


@dataclass(frozen=True, slots=True)
class Selector:
    """Layers of a stack: all, the first, the last, those from `low` to `high`, or those whose name fits `glob`."""

    kind: Literal["all", "first", "last", "range", "glob"] = "all"
    low: int = 0
    high: int = 0
    glob: str = ""

    def select(self, layers: Iterable[tuple[int, str]]) -> tuple[int, ...]:
        """The layers that are meant.

        Args:
            layers: index and name of each layer of one stack that can be meant.

        Returns:
            Their indices in ascending order; empty where none fits.

        Example:
            >>> parse_selector("1..2").select([(0, "h.0.input"), (1, "h.0"), (2, "h.1"), (3, "h.2")])
            (1, 2)
        """
        names = dict(sorted(layers))
        found = list(names)
        if self.kind == "range":
            return tuple(k for k in found if self.low <= k <= self.high)
        if self.kind == "glob":
            return tuple(k for k in found if names[k] == self.glob or fnmatch.fnmatchcase(names[k], self.glob))
        return tuple(found[:1] if self.kind == "first" else found[-1:] if self.kind == "last" else found)

    def __str__(self) -> str:
        if self.kind == "range":
            return f"{self.low}" if self.low == self.high else f"{self.low}..{self.high}"
        if self.kind != "glob":
            return "*" if self.kind == "all" else self.kind
        return self.glob if _unquoted(self.glob) == self else f"'{self.glob}'"


EVERY = Selector()
"""All layers."""


def parse_selector(text: str) -> Selector:
    """Read what stands after ``@``.

    Args:
        text: an index, ``a..b`` (both included), ``first``, ``last``, ``*``, or a glob over the names of layers; in
            quotes it is always a glob.

    Returns:
        The selector, whose text reads back to an equal one.

    Raises:
        UsageError: it is empty, or the range runs backwards.

    Example:
        >>> parse_selector("blocks.*").glob, str(parse_selector("3..5")), parse_selector("'last'").kind
        ('blocks.*', '3..5', 'glob')
    """
    word = text.strip()
    found = _unquoted(word)
    if found is None:
        raise UsageError("RS117", "no layer is named after @", details=_FORMS)
    if found.low > found.high:
        headline = f"{word} names no layer: the range runs backwards"
        raise UsageError("RS117", headline, remedies=[("The other way round", f"{found.high}..{found.low}")])
    return found


_FORMS = (("known", "an index, a..b, first, last, *, or a glob over the names of layers"),)


def _unquoted(word: str) -> Selector | None:
    """A selector by its text, also one whose range runs backwards; None for no text."""
    if len(word) > 2 and word[0] in _QUOTES and word[-1] == word[0]:
        return Selector("glob", glob=word[1:-1])
    if found := _RANGE.fullmatch(word):
        low, high = int(found[1]), int(found[2] or found[1])
        return Selector("range", low, high)
    if word in {"first", "last"}:
        return Selector("first" if word == "first" else "last")
    if word == "*":
        return EVERY
    return Selector("glob", glob=word) if word and word == word.strip() else None
