"""Words: what a comparison found, in one sentence. Names of layers are as the models have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.comparison.first import FORWARD
from rankscope.comparison.missing import unmeasured
from rankscope.depth import RESIDUAL
from rankscope.table import TELLING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.comparison.records import Difference, First, Missing, Pair, Subject

_SEVERITY = ("collapsed", "thinning", "undefined", "healthy")
_FEW = 3  # names in a sentence
_RANKS = ("effective_rank_unit", "effective_rank", "stable_rank", "mu_bar_unit", "mu_bar", *TELLING)


def verdict(subject: Subject, why: bool = False) -> str:
    """The verdict of one model; of several stacks the worst.

    Args:
        subject: one of those compared.
        why: whether to tell the reason of an undefined one.

    Returns:
        Such as ``"collapsed from blocks.4 on"``; ``"not judged"`` where what verdicts are taken from was not measured.
    """
    if not any(row.measure == RESIDUAL for row in subject.report.rows):
        return "not judged" + (f": {RESIDUAL} was not measured" if why else "")
    if not subject.verdicts:
        return "not judged"
    worst = min(subject.verdicts, key=lambda entry: _SEVERITY.index(entry.verdict))
    if worst.verdict == "undefined":
        return f"undefined: {worst.reason}" if why and worst.reason else "undefined"
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
    parts = (_verdicts([reference, other], [pair]), where(pair), _end(pair))
    return _line("; ".join(part for part in parts if part))


def sentence(subjects: Sequence[Subject], pairs: Sequence[Pair]) -> str:
    """What was found of all.

    Args:
        subjects: those compared.
        pairs: the reference with each other.

    Returns:
        One sentence; of several pairs the verdicts, and a line for each pair.
    """
    if len(pairs) == 1:
        return pairs[0].sentence
    told = [f"{pair.reference} and {pair.other}: {where(pair)}" for pair in pairs]
    return "\n".join(map(_line, [_verdicts(subjects, pairs), *told]))


def _line(text: str) -> str:
    """A text that names of layers cannot break into lines."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _verdicts(subjects: Sequence[Subject], pairs: Sequence[Pair]) -> str:
    """The verdicts; those that have the same are named together. A reason is told here if nowhere else."""
    lacking = {entry.model for pair in pairs for entry in pair.missing}
    same: dict[str, list[str]] = {}
    for subject in subjects:
        told = verdict(subject)
        reason = told == "undefined" and subject.letter not in lacking
        same.setdefault(verdict(subject, why=True) if reason else told, []).append(subject.letter)
    return ", ".join(f"{_and(letters)} {told}" for told, letters in same.items())


def _and(words: Sequence[str]) -> str:
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last


def where(pair: Pair) -> str:
    """Where two models differ first, and what only one of them has.

    Args:
        pair: the two.

    Returns:
        Clauses, with semicolons between them.
    """
    parts = [*(lack(entry) for entry in pair.missing), *_alone(pair)]
    parts.insert(0 if pair.first is not None else len(parts), _differ(pair, whole=not parts))
    return "; ".join(parts)


def lack(entry: Missing) -> str:
    """What one model has no numbers of.

    Args:
        entry: what it lacks.

    Returns:
        A clause such as ``"B has no numbers from blocks.4 on (non-finite values)"``.
    """
    some = _and(entry.measures) if len(entry.measures) <= _FEW else f"{len(entry.measures)} measures"
    place = f"from {entry.own_layer} on" if entry.onwards else f"at {entry.own_layer}"
    return f"{entry.model} has no {'numbers' if entry.every else some} {place} ({entry.reason})"


def _alone(pair: Pair) -> list[str]:
    """What stands beside nothing: layers of the one and the other, and measures."""
    by_depth = any(match.by == "depth" for match in pair.matches)
    found = []
    sides = ((pair.reference, pair.unmatched_reference), (pair.other, pair.unmatched_other))
    for letter, layers in sides:
        names = [layer.name for layer in layers]
        if len(names) > _FEW:
            names = [names[0], f"{len(names) - 1} more layers"]
        if names:
            one = len(names) == 1
            told = f"of {letter} {'stands' if one else 'stand'} beside none" if by_depth else f"only in {letter}"
            found.append(f"{_and(names)} {told}" if by_depth else f"{_and(names)} {'is' if one else 'are'} {told}")
    for letter, measures in zip((pair.reference, pair.other), unmeasured(pair.differences), strict=True):
        if measures:
            some = _and(measures) if len(measures) <= _FEW else f"{len(measures)} measures"
            found.append(f"{some} {'was' if len(measures) == 1 else 'were'} measured in {letter} only")
    return found


def _differ(pair: Pair, whole: bool) -> str:
    """Where the numbers that both have differ first; `whole` where neither lacks any."""
    if pair.first is not None:
        place, before = f"{_place(pair.first)} ({_numbers(pair.first)})", pair.first_unequal
        if pair.first.basis == "noise" and before is not None and before.layer != pair.first.layer:
            return f"they differ first beyond noise at {place}, within noise already at {_place(before)}"
        exact = ", all numbers before being equal" if pair.first.basis == "exact" else ""
        return f"they differ first at {place}{exact}"
    compared = [entry for entry in pair.differences if entry.outcome != "undefined"]
    if not compared:
        return "they have no number in common"
    if all(entry.outcome == "equal" for entry in compared):
        some = f"{len(compared)} numbers"
        return f"they differ nowhere: all {some} are equal" if whole else f"the {some} that both have are equal"
    if pair.first_unequal is None:
        return "they differ in their gradients alone" if whole else "of what both have only gradients differ"
    untested = [entry.reason for entry in compared if entry.site in FORWARD and entry.outcome == "untested"]
    if untested and not pair.tests:
        return f"their numbers part at {_place(pair.first_unequal)}, {untested[0]}"
    nowhere = "they differ nowhere" if whole else "what both have differs nowhere"
    return f"{nowhere} beyond noise; their numbers part at {_place(pair.first_unequal)}"


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
    later = any(layer.index > last.index for layer in (*pair.unmatched_reference, *pair.unmatched_other))
    at = [e for e in pair.differences if (e.stack, e.layer_index, e.site) == (last.stack, last.index, "block")]
    told = [e for e in at if e.scope == "sequence" and e.outcome not in {"equal", "undefined"} and _telling(e)]
    if not told:
        return ""
    entry = min(told, key=lambda e: _RANKS.index(e.measure))
    beyond = " (within noise)" if entry.outcome == "noise" else ""
    place = last.name if later else "the end"
    return f"at {place} {pair.other} has {_times(entry)} {pair.reference}'s {entry.measure}{beyond}"


def _telling(entry: Difference) -> bool:
    return entry.measure in _RANKS and entry.ratio is not None and entry.ratio > 0


def _times(entry: Difference) -> str:
    text = f"{entry.ratio:.3g}"
    return "nearly" if text == "1" else f"{text} times"
