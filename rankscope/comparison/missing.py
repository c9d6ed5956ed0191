"""Missing: from which layer on one of two models has no numbers, and why. Equal numbers before say nothing of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rankscope.comparison.differences import NOT_MEASURED
from rankscope.comparison.first import FORWARD
from rankscope.comparison.records import Missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rankscope.comparison.records import Difference

_SIDES = ("the reference", "the other")


def missing(differences: Sequence[Difference], letters: tuple[str, str]) -> tuple[Missing, ...]:
    """Where each of two models has no numbers, though they were asked for.

    A layer counts where a model lacks a number that the other has, or has none at all. What was not measured there
    does not count. Gradients run backwards: they are looked at only where the forward pass lacks nothing.

    Args:
        differences: of one pair, in the order of the layers.
        letters: of the reference and of the other.

    Returns:
        At most one for each of the two, the reference first.
    """
    found = []
    for side, letter in enumerate(letters):
        forward = _of(side, letter, [entry for entry in differences if entry.site in FORWARD])
        entry = forward or _of(side, letter, differences)
        if entry is not None:
            found.append(entry)
    return tuple(found)


def unmeasured(differences: Iterable[Difference]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Measures that one of two models was nowhere asked for, and the other has.

    Args:
        differences: of one pair.

    Returns:
        Those that the reference alone has, and those that the other alone has.
    """
    lacking: tuple[dict[str, bool], dict[str, bool]] = ({}, {})
    for entry in differences:
        for side, told in enumerate(lacking):
            told[entry.measure] = told.get(entry.measure, True) and why(entry, side) == NOT_MEASURED
    only = [tuple(measure for measure, nowhere in told.items() if nowhere) for told in lacking]
    return only[1], only[0]


def why(entry: Difference, side: int) -> str:
    """Why one of two models has no number at a difference.

    Args:
        entry: the difference.
        side: 0 for the reference, 1 for the other.

    Returns:
        The reason without its status; empty where there is a number.
    """
    _, found, told = (entry.reason or "").partition(f"{_SIDES[side]}: ")
    if not found or _value(entry, side) is not None:
        return ""
    told = told.partition(f"; {_SIDES[1]}: ")[0]
    return told.partition(", ")[2] or told


def _of(side: int, letter: str, differences: Sequence[Difference]) -> Missing | None:
    """Where one of the two begins to lack numbers."""
    layers: dict[tuple[str, int], list[Difference]] = {}
    for entry in differences:
        layers.setdefault((entry.stack, entry.layer_index), []).append(entry)
    gaps = [_gap(side, layer) for layer in layers.values()]
    begin = next((i for i, gap in enumerate(gaps) if gap), None)
    if begin is None:
        return None
    layer, gap = list(layers.values())[begin], gaps[begin]
    following = list(zip(list(layers.values())[begin:], gaps[begin:], strict=True))
    every = _none(side, layer)
    reasons = Counter(why(entry, side) for entry in gap)
    return Missing(
        model=letter,
        stack=layer[0].stack,
        layer_index=layer[0].layer_index,
        layer=layer[0].layer,
        own_layer=layer[0].other_layer if side else layer[0].layer,
        measures=tuple(dict.fromkeys(entry.measure for entry in gap)),
        every=every,
        onwards=all(_none(side, entries) if every else bool(gap) for entries, gap in following),
        numbers=sum(map(len, gaps)),
        reason=reasons.most_common(1)[0][0],
    )


def _gap(side: int, layer: Sequence[Difference]) -> list[Difference]:
    """What one of the two was asked for at a layer and does not have."""
    lacking = [entry for entry in layer if _value(entry, side) is None and why(entry, side) != NOT_MEASURED]
    return lacking if _none(side, layer) else [entry for entry in lacking if _value(entry, 1 - side) is not None]


def _none(side: int, layer: Sequence[Difference]) -> bool:
    """Whether nothing of a layer's output is left; values and attention are of what it still got to see."""
    output = [entry for entry in layer if entry.site == "block"]
    return all(_value(entry, side) is None for entry in output or layer)


def _value(entry: Difference, side: int) -> float | None:
    return entry.other if side else entry.reference
