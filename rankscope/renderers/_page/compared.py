"""The page of a comparison: that of its reports, with where they differ before the charts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from rankscope.comparison.missing import why
from rankscope.depth import RESIDUAL
from rankscope.records import display_name
from rankscope.renderers._page.build import page_of
from rankscope.renderers._page.model import Listing
from rankscope.renderers._screen import plain
from rankscope.table import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.comparison.records import Comparison, Difference, Pair, Subject
    from rankscope.records import Layer
    from rankscope.renderers._page.model import Card, Page

_WORDS = {
    "equal": "equal",
    "differs": "differs",
    "noise": "within noise",
    "untested": "not tested",
    "undefined": "no number",
}
_BEYOND = {
    "exact": "every number before is equal",
    "noise": "beyond the noise over sequences",
    "numbers": "the numbers differ",
}


def page_of_comparison(comparison: Comparison) -> Page:
    """The page of a comparison.

    Args:
        comparison: any comparison.

    Returns:
        The page.
    """
    labels = [f"{subject.letter} {display_name(subject.name)}" for subject in comparison.subjects]
    page = page_of(comparison.reports, labels)
    known = {(code, text) for code, text, _ in page.notes}
    own = [(plain(note.code), plain(note.text), "") for note in comparison.notes]
    sections = [(f"{pair.reference} beside {pair.other}", tuple(_tables(pair))) for pair in comparison.pairs]
    return replace(
        page,
        lead="\n".join(map(plain, comparison.sentence.splitlines())),
        cards=tuple(_timed(card, comparison.subjects) for card in page.cards),
        listings=tuple(sections),
        notes=(*(note for note in own if note[:2] not in known), *page.notes),
        data={**page.data, "comparison": plain("; ".join(comparison.sentence.splitlines()))},
    )


def _timed(card: Card, subjects: Sequence[Subject]) -> Card:
    """A card with the time of a forward pass, where it was measured."""
    for subject in subjects:
        if card.name.partition(" ")[0] == subject.letter and subject.forward_seconds is not None:
            time = ("forward", f"{1e3 * subject.forward_seconds:.1f} ms, median, first batch")
            return replace(card, facts=(*card.facts, time))
    return card


def _tables(pair: Pair) -> list[Listing]:
    """Where two models differ first, layer by layer, and which layers stand alone."""
    found = [_layers(pair), _alone(pair), _first(pair)]
    return [table for table in found if table.lines]


def _first(pair: Pair) -> Listing:
    """The first layer that differs, of each measure."""
    entries = ([pair.first] if pair.first else []) + [first for first in pair.first_of if first != pair.first]
    lines = []
    for first in entries:
        reference, other = numbers([first.reference, first.other])
        chance = "—" if first.p is None else f"{first.p:.2g}"
        where = (display_name(first.layer), display_name(first.other_layer))
        lines.append((first.measure, *where, reference, other, chance, _BEYOND[first.basis]))
    headings = ("measure", f"layer of {pair.reference}", f"layer of {pair.other}", pair.reference, pair.other, "p", "")
    caption = "The clearest one in the forward pass first, then each measure; p is corrected for all tests."
    title = "The first layer that differs, by measure"
    words = frozenset({0, 1, 2, 6})
    return Listing(title, caption, headings, tuple(lines), words, heads=True, folded=True)


def _layers(pair: Pair) -> Listing:
    """A line for each pair of layers: the distance to one direction, and how many measures differ."""
    at: dict[tuple[str, int], list[Difference]] = defaultdict(list)
    for entry in pair.differences:
        at[entry.stack, entry.layer_index].append(entry)
    lines = []
    for match in pair.matches:
        entries = at[match.reference.stack, match.reference.index]
        told = next((e for e in entries if e.measure == RESIDUAL and e.scope == "sequence"), None)
        differ = sum(entry.outcome == "differs" for entry in entries)
        word = _WORDS[told.outcome] if told else "no number"
        names = (display_name(match.reference.name), display_name(match.other.name))
        lines.append((str(match.reference.index), *names, *_sides(told), word, f"{differ} of {len(entries)}"))
    both = (pair.reference, pair.other)
    headings = (
        "k",
        *(f"layer of {letter}" for letter in both),
        *both,
        f"{pair.other} − {pair.reference}",
        RESIDUAL,
        "measures that differ",
    )
    caption = f"Layers beside each other by {' and '.join(sorted({match.by for match in pair.matches})) or 'nothing'}; "
    caption += f"numbers are of {RESIDUAL}. Within noise: no more than the choice of sequences may do. "
    caption += "≤: at or below the noise floor."
    return Listing("Layer by layer", caption, headings, tuple(lines), frozenset({1, 2, 6}), marks=6)


def _sides(entry: Difference | None) -> tuple[str, str, str]:
    """Both numbers and the difference; what is missing has its reason, what is at the noise floor its mark."""
    if entry is None:
        return ("—", "—", "—")
    texts = numbers([entry.reference, entry.other, entry.difference])
    found = []
    for side, name in enumerate(("reference", "other")):
        mark = "≤" if entry.at_floor in {name, "both"} else ""
        found.append(mark + texts[side] if texts[side] else f"— ({plain(why(entry, side))})")
    return (found[0], found[1], texts[2] or "—")


def _alone(pair: Pair) -> Listing:
    """The layers without one beside them."""

    def line(letter: str, layer: Layer) -> tuple[str, ...]:
        return (letter, str(layer.index), display_name(layer.name), display_name(layer.type))

    lines = [line(pair.reference, layer) for layer in pair.unmatched_reference]
    lines += [line(pair.other, layer) for layer in pair.unmatched_other]
    words = frozenset({0, 2, 3})
    return Listing("Layers without one beside them", "", ("model", "k", "layer", "type"), tuple(lines), words)
