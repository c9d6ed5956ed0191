"""Pairs: the reference with each of the others, and what a reader of the numbers should know."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from rankscope.comparison.alignment import align
from rankscope.comparison.differences import ENVIRONMENT, differences, same_environment
from rankscope.comparison.first import first_of_all, first_of_each, first_unequal
from rankscope.comparison.missing import missing
from rankscope.comparison.records import Pair
from rankscope.comparison.words import pair_sentence, sentence
from rankscope.errors import CannotMeasure
from rankscope.records import Note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.comparison.records import Alignment, Match, Subject
    from rankscope.records import Layer, Report


def compared(subjects: Sequence[Subject], by: Alignment | None) -> tuple[tuple[Pair, ...], str, tuple[Note, ...]]:
    """Compare the first of some subjects with each of the others.

    Args:
        subjects: of the same inputs.
        by: how layers are matched.

    Returns:
        The pairs, the sentence, and notes.
    """
    runs = _runs(subjects)
    pairs = tuple(_pair(subjects[0], other, by, runs) for other in subjects[1:])
    return pairs, sentence(subjects, pairs), tuple(_notes(subjects, pairs, runs))


def _pair(reference: Subject, other: Subject, by: Alignment | None, runs: dict[str, list[Report]]) -> Pair:
    """One pair; where no layer of the one stands beside any of the other, it cannot be compared."""
    ours, theirs = _layers(reference.report), _layers(other.report)
    matches = align(ours, theirs, by)
    if not matches:
        raise CannotMeasure(
            "RS622",
            f"{other.name} was not compared with {reference.name}: no layer of the one matches any of the other",
            details=[
                (subject.name, f"{len(layers)} layers" + (f", such as {layers[-1].name}" if layers else ""))
                for subject, layers in ((reference, ours), (other, theirs))
            ],
            remedies=[("Match them by relative depth", "--align depth")] if by == "name" else [],
        )
    alone = runs[_model(reference)] is runs[_model(other)]  # two seeds of one model are two models to each other
    spread = [[s.report] if alone else runs[_model(s)] for s in (reference, other)]
    found = differences(reference.report, other.report, matches, (spread[0], spread[1]))
    pair = Pair(
        reference=reference.letter,
        other=other.letter,
        matches=matches,
        unmatched_reference=_left(ours, [match.reference for match in matches]),
        unmatched_other=_left(theirs, [match.other for match in matches]),
        differences=found,
        first=first_of_all(found, same_environment(reference.report, other.report)),
        first_of=first_of_each(found),
        first_unequal=first_unequal(found),
        sentence="",
        tests=sum(entry.p is not None for entry in found),
        missing=missing(found, (reference.letter, other.letter)),
    )
    return replace(pair, sentence=pair_sentence(reference, other, pair))


def _layers(report: Report) -> tuple[Layer, ...]:
    return tuple({(layer.stack, layer.index): layer for layer in report.layers}.values())


def _left(layers: Sequence[Layer], matched: Sequence[Layer]) -> tuple[Layer, ...]:
    taken = {(layer.stack, layer.index) for layer in matched}
    return tuple(layer for layer in layers if (layer.stack, layer.index) not in taken)


def _model(subject: Subject) -> str:
    """What was measured, without its seed."""
    spec = str(subject.report.model.get("spec"))
    if not spec.startswith("zoo:"):
        return f"{subject.letter} {spec}"  # the name of a file does not tell what is a seed of what
    return ",".join(part for part in spec.split(",") if not part.startswith("seed="))


def _runs(subjects: Sequence[Subject]) -> dict[str, list[Report]]:
    """The reports of each model under all seeds that were given."""
    runs: dict[str, list[Report]] = defaultdict(list)
    for subject in subjects:
        runs[_model(subject)].append(subject.report)
    return runs


def _notes(subjects: Sequence[Subject], pairs: Sequence[Pair], runs: dict[str, list[Report]]) -> list[Note]:
    """What a reader of the numbers should know."""
    notes = []
    reference = subjects[0].report.environment
    for subject in subjects[1:]:
        other = subject.report.environment
        unlike = [f"{n} {reference.get(n)} and {other.get(n)}" for n in ENVIRONMENT if reference.get(n) != other.get(n)]
        if unlike:
            text = f"A and {subject.letter} were measured under other conditions, so that rounding differs: "
            notes.append(Note("RS623", text + ", ".join(unlike)))
    measured = (subject.report for subject in subjects if subject.forward_seconds is not None)
    notes += dict.fromkeys(note for report in measured for note in report.notes if note.code == "RS626")
    told = [(pair, _depths(pair.matches)) for pair in pairs]
    notes += [Note("RS624", f"{pair.reference} and {pair.other}: {text}") for pair, text in told if text]
    for name, reports in runs.items():
        if len({report.model.get("spec") for report in reports}) > 1:
            text = f"{name}: {len(reports)} seeds; a difference counts only beyond their spread"
            notes.append(Note("RS625", text))
    return notes


def _depths(matches: Sequence[Match]) -> str:
    """That layers stand beside each other by relative depth, where they do."""
    by_depth = [match for match in matches if match.by == "depth"]
    if not by_depth:
        return ""
    used = {(match.other.stack, match.other.index) for match in by_depth}
    return f"{len(by_depth)} layers were matched by relative depth with {len(used)} layers"
