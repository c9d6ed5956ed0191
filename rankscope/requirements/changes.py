"""Changes: what recording a baseline anew does to its numbers, in one line for whoever is about to commit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.requirements.grammar import spelt

if TYPE_CHECKING:
    from rankscope.requirements.baseline import Baseline

    Values = dict[tuple[str, str, str], float]


def changes(old: Baseline, new: Baseline) -> str:
    """How the numbers of a baseline changed.

    Args:
        old: what was recorded.
        new: what takes its place.

    Returns:
        How many rose, fell, stayed, are new and are gone, and the largest change as a share of the larger of its two
        numbers; names of layers are as the model has them.

    Example:
        >>> from rankscope.records import Report, Row
        >>> from rankscope.requirements.baseline import Baseline
        >>> row = lambda value: Row("h", 1, "h.0", "block", "sequence", None, None, "mu_bar", 1, value)
        >>> changes(Baseline.of(Report({}, (row(0.5),))), Baseline.of(Report({}, (row(0.25),))))
        '1 number fell; the largest change is mu_bar at h.0, 0.5 to 0.25'
    """
    before, after = _values(old), _values(new)
    both = [key for key in before if key in after]
    counts = {
        "rose": sum(after[key] > before[key] for key in both),
        "fell": sum(after[key] < before[key] for key in both),
        "stayed": sum(after[key] == before[key] for key in both),
        "new": len(after.keys() - before.keys()),
        "gone": len(before.keys() - after.keys()),
    }
    told = [f"{count} {word}" for word, count in counts.items() if count]
    if not told:
        return "it holds no number"
    number, _, word = told[0].partition(" ")
    verb = {"new": "is " if number == "1" else "are ", "gone": "is " if number == "1" else "are "}.get(word, "")
    told[0] = f"{number} {'number' if number == '1' else 'numbers'} {verb}{word}"
    if not counts["rose"] + counts["fell"]:
        return ", ".join(told)
    largest = max(both, key=lambda key: _share(before[key], after[key]))
    _, layer, measure = largest
    spell = f"{measure} at {layer}, {spelt(before[largest])} to {spelt(after[largest])}"
    return f"{', '.join(told)}; the largest change is {spell}"


def _values(baseline: Baseline) -> Values:
    return {(each.stack, each.name, name): value for each in baseline.layers for name, value in each.values.items()}


def _share(before: float, after: float) -> float:
    """The change as a share of the larger of two numbers; of their sizes alone nothing could be told."""
    return abs(after - before) / max(abs(before), abs(after), 1e-300)
