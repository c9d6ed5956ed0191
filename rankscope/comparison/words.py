"""Words: what a comparison found, in one sentence. Names of layers are as the models have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.comparison.first import FORWARD
from rankscope.table import TELLING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.comparison.records import Difference, First, Pair, Subject

_SEVERITY = ("collapsed", "thinning", "undefined", "healthy")
_RANKS = ("effective_rank_unit", "effective_rank", "stable_rank", "mu_bar_unit", "mu_bar", *TELLING)


def verdict(subject: Subject) -> str:
    """The verdict of one model; of several stacks the worst.

    Args:
        subject: one of those compared.

    Returns:
        Such as ``"collapsed from blocks.4 on"``.
    """
    if not subject.verdicts:
        return "without a verdict"
    worst = min(subject.verdicts, key=lambda entry: _SEVERITY.index(entry.verdict))
    if worst.verdict == "collapsed":
        return f"collapsed from {worst.layer} on"
    return f"thinning from {worst.layer} on" if worst.verdict == "thinning" else worst.verdict


def pair_sentence(reference: Subject, other: Subject, pair: Pair) -> str:
    """What was found of two models: their verdicts, where they differ first, and what the other has more of.

    Args:
        reference: the one.
        other: the other.
        pair: what was found; its own sentence is not read.

    Returns:
        One sentence.
    """
    return "; ".join(part for part in (_verdicts([reference, other]), where(pair), _end(pair)) if part)


def sentence(subjects: Sequence[Subject], pairs: Sequence[Pair]) -> str:
    """What was found of all.

    Args:
        subjects: those compared.
        pairs: the reference with each other.

    Returns:
        One sentence.
    """
    if len(pairs) == 1:
        return pairs[0].sentence
    return "; ".join([_verdicts(subjects), *(f"{pair.reference} and {pair.other}: {where(pair)}" for pair in pairs)])


def _verdicts(subjects: Sequence[Subject]) -> str:
    """The verdicts; those that have the same are named together."""
    same: dict[str, list[str]] = {}
    for subject in subjects:
        same.setdefault(verdict(subject), []).append(subject.letter)
    return ", ".join(f"{_and(letters)} {told}" for told, letters in same.items())


def _and(letters: Sequence[str]) -> str:
    *before, last = letters
    return f"{', '.join(before)} and {last}" if before else last


def where(pair: Pair) -> str:
    """Where two models differ first.

    Args:
        pair: the two.

    Returns:
        A clause.
    """
    if pair.first is not None:
        place = f"they differ first at {_place(pair.first)} ({_numbers(pair.first)})"
        before = pair.first_unequal
        if pair.first.basis == "noise" and before is not None and before.layer != pair.first.layer:
            return f"{place}, and within noise from {_place(before)} on"
        return f"{place}, all numbers before being equal" if pair.first.basis == "exact" else place
    compared = [entry for entry in pair.differences if entry.outcome != "undefined"]
    if not compared:
        return "they have no number in common"
    if all(entry.outcome == "equal" for entry in compared):
        return f"they differ nowhere: all {len(compared)} numbers are equal"
    if pair.first_unequal is None:
        return "they differ in their gradients alone"
    untested = [entry.reason for entry in compared if entry.site in FORWARD and entry.outcome == "untested"]
    if untested and not pair.tests:
        return f"their numbers part at {_place(pair.first_unequal)}, {untested[0]}"
    return f"they differ nowhere beyond noise; their numbers part at {_place(pair.first_unequal)}"


def _place(first: First) -> str:
    return first.layer if first.layer == first.other_layer else f"{first.layer} (beside {first.other_layer})"


def _numbers(first: First) -> str:
    """The measure with both numbers, in the digits that tell them apart."""
    pairs = ((f"{first.reference:.{n}g}", f"{first.other:.{n}g}") for n in range(3, 18))
    a, b = next((pair for pair in pairs if pair[0] != pair[1]), (repr(first.reference), repr(first.other)))
    return f"{first.measure} {a} against {b}"


def _end(pair: Pair) -> str:
    """What the other has more or less of at the last layers that stand beside each other."""
    if not pair.matches or pair.first is None:
        return ""
    last = pair.matches[-1].reference
    at = [e for e in pair.differences if (e.stack, e.layer_index, e.site) == (last.stack, last.index, "block")]
    told = [e for e in at if e.scope == "sequence" and e.outcome not in {"equal", "undefined"} and _telling(e)]
    if not told:
        return ""
    entry = min(told, key=lambda e: _RANKS.index(e.measure))
    beyond = " (within noise)" if entry.outcome == "noise" else ""
    return f"at the end {pair.other} has {_times(entry)} {pair.reference}'s {entry.measure}{beyond}"


def _telling(entry: Difference) -> bool:
    return entry.measure in _RANKS and entry.ratio is not None and entry.ratio > 0


def _times(entry: Difference) -> str:
    text = f"{entry.ratio:.3g}"
    return "nearly" if text == "1" else f"{text} times"
