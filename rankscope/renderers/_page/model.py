"""Model of the page: what the template shows. Every text in it is plain; the template escapes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup


_ONE_LINE = 34


@dataclass(frozen=True, slots=True)
class Card:
    """A verdict: the word that is coloured, whom it is about, the sentence, and facts beside it."""

    word: str
    name: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()
    key: Markup | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A plain table: requirements, differences, what is missing, provenance.

    `words` are the numbers of the columns that hold text, set to the left; `heads` whether the first column heads its
    line; `marks` the column whose word is shown as a badge; `folded` whether it opens only when asked.
    """

    title: str
    caption: str
    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    words: frozenset[int] = frozenset()
    heads: bool = False
    marks: int | None = None
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with what it shows in words; `keys` say which line is which where the legend of the page does not."""

    title: str
    caption: str
    svg: Markup
    keys: tuple[tuple[Markup, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Heat:
    """The heat map of one stack: a strip of colours a measure, with its first and last number."""

    title: str
    key: Markup
    span: str
    lines: tuple[tuple[str, Markup, str, str], ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of the full table as text; `status` is empty for ok, and `mark` the footnote with the reason."""

    text: str
    status: str = ""
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """The full table: `names` head the columns that say where, `labels` those of measures.

    The first `telling` measures are shown at once, where there is a script to show the others.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    telling: int
    lines: tuple[tuple[tuple[str, ...], tuple[Cell, ...]], ...]
    reasons: tuple[str, ...]
    floor: str = ""

    @property
    def long(self) -> bool:
        """Whether the name of some model or layer is too long to stay on one line."""
        return any(len(name) > _ONE_LINE for names, _ in self.lines for name in names)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, what it shows in a sentence, charts, and more of them that open only when asked."""

    title: str
    lede: str
    figures: tuple[Figure, ...]
    more: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """All that the template shows, in its order; what is empty is left out.

    `sections` are the charts of a sweep; `listings` are sections before the charts over depth, each with its heading:
    requirements, or differences.
    """

    title: str
    headline: str
    lead: str
    cards: tuple[Card, ...]
    sections: tuple[Section, ...] = ()
    listings: tuple[tuple[str, tuple[Listing, ...]], ...] = ()
    legend: tuple[tuple[Markup, str], ...] = ()
    figures: tuple[Figure, ...] = ()
    more: tuple[Figure, ...] = ()
    heats: tuple[Heat, ...] = ()
    spectra: tuple[Figure, ...] = ()
    grid: Grid | None = None
    missing: Listing | None = None
    notes: tuple[tuple[str, str, str], ...] = ()
    origin: tuple[Listing, ...] = ()
    made: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
