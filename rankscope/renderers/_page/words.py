"""The words of the page: verdicts, notes, and where the numbers come from."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from rankscope.records import display_name
from rankscope.renderers._page.model import Card, Listing
from rankscope.renderers._parts import coverage, facts, verdict
from rankscope.renderers._screen import plain
from rankscope.renderers._svg import sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rankscope.records import Report
    from rankscope.renderers._page.reading import Strand

_WORST = ("collapsed", "thinning", "undefined", "healthy")
_MOST = 3  # models that the headline names


def cards(strands: Sequence[Strand]) -> list[Card]:
    """A verdict for each strand that has one; for the others, that there is none.

    Args:
        strands: the strands.

    Returns:
        The cards, in the order of the strands.
    """
    found = []
    for strand in strands:
        told = verdict(strand.report, strand.table.stack)
        word, text = told or ("undefined", "no verdict: the measures that it is taken from were not asked for")
        first = text.removeprefix(word).lstrip(" :;,")
        start = first.partition(" ")[0]  # which may be the name of a measure, and keeps its letters then
        first = start.capitalize() + first[len(start) :] if start.isalpha() else first
        about = tuple((label, line) for label, line in facts(strand.report))
        found.append(Card(word, strand.name, first, about, sample(strand.style)))
    return found


def headline(found: Sequence[Card]) -> str:
    """The verdicts in one line: each by name where they are few, else counted.

    Args:
        found: the cards.

    Returns:
        The line.
    """
    if not found:
        return "Nothing was measured"
    if len(found) <= _MOST:
        return "; ".join(f"{card.name}: {card.word}" for card in found)
    counts = {word: sum(card.word == word for card in found) for word in _WORST}
    return f"Of {len(found)}: " + ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def notes(reports: Sequence[Report], labels: Sequence[str]) -> list[tuple[str, str, str]]:
    """The notes of all reports, each once: code, text, and the models where not all have it.

    Args:
        reports: any reports.
        labels: their names.

    Returns:
        Triples; the last is empty where all have the note.
    """
    found: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for report, name in zip(reports, labels, strict=True):
        for note in report.notes:
            found[plain(note.code), plain(note.text)][name] = None
    return [(code, text, "" if len(of) == len(reports) else ", ".join(of)) for (code, text), of in found.items()]


def origin(reports: Sequence[Report], labels: Sequence[str]) -> list[Listing]:
    """Where the numbers come from: a line a fact, a column a report.

    Args:
        reports: any reports.
        labels: their names.

    Returns:
        One table; none where there is no report.
    """
    if not reports:
        return []
    columns = [_facts(report) for report in reports]
    facts_of_all = dict.fromkeys(fact for column in columns for fact in column)
    lines = tuple((fact, *(column.get(fact, "—") for column in columns)) for fact in facts_of_all)
    return [
        Listing(
            "Where the numbers come from",
            "The reports that this page shows.",
            ("", *labels),
            lines,
            frozenset(range(len(reports) + 1)),
            heads=True,
        )
    ]


def _facts(report: Report) -> dict[str, str]:
    """Everything that a report says of itself, without its numbers."""
    parts: dict[str, Mapping[str, Any]] = {
        "model": report.model,
        "inputs": report.inputs,
        "environment": report.environment,
    }
    found = {f"{part}: {plain(key)}": _fact(value) for part, data in parts.items() for key, value in data.items()}
    stacks = {layer.stack: layer for layer in report.layers}
    shapes = {display_name(stack): " × ".join(map(str, layer.shape)) for stack, layer in stacks.items()}
    found["shape of the stacks"] = "; ".join(f"{stack}: {shape}" for stack, shape in shapes.items() if shape) or "—"
    return found | {
        "layers": coverage(report),
        "measured at": plain(report.created) or "—",
        "rankscope": plain(report.rankscope) or "—",
        "schema": plain(report.schema),
    }


def _fact(value: object) -> str:
    if value is None or value in ([], {}, ""):
        return "—"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if value >= 10_000 else str(value)
    return plain(", ".join(map(str, value)) if isinstance(value, list | tuple) else value)
