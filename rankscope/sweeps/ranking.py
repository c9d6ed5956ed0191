"""Ranking: which point changes the model most, for a sweep that drops its layers one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rankscope.comparison.noise import LEAST, LEVEL, chances
from rankscope.depth import RESIDUAL
from rankscope.sweeps.axes import over_layers
from rankscope.sweeps.curves import finals, last_row
from rankscope.sweeps.records import Effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.sweeps.axes import Axis
    from rankscope.sweeps.records import Point


def ranking(axes: Sequence[Axis], points: Sequence[Point], reference: Point | None) -> tuple[Effect, ...]:
    """What every point changes against the model as it was given, the largest change first.

    The order is that of the rise of the loss, where one is known: a layer whose loss costs most matters most. Else it
    is that of the change of rank_one_residual_unit at the last layer, or of the first measure that there is.

    Args:
        axes: what is swept; there is a ranking where one of them is over layers.
        points: those of the sweep.
        reference: the model as it was given.

    Returns:
        An effect for each measured point; none where nothing is swept over layers, or the model as it was given was
        not measured.
    """
    if reference is None or reference.report is None or not any(over_layers(axis.name) for axis in axes):
        return ()
    before = finals(reference)
    found = [(point, _changes(before, finals(point))) for point in points if point.report is not None]
    main = RESIDUAL if before.get(RESIDUAL) is not None else next((n for n, v in before.items() if v is not None), "")

    def loss_change(point: Point) -> float | None:
        return None if point.loss is None or reference.loss is None else point.loss - reference.loss

    def size(entry: tuple[Point, dict[str, float | None]]) -> tuple[bool, float]:
        point, changes = entry
        rise, moved = loss_change(point), changes.get(main)
        if reference.loss is not None:
            return (rise is None, -(rise or 0.0))
        return (moved is None, -abs(moved or 0.0))

    ordered = sorted(found, key=size)
    losses = [loss_change(point) for point, _ in ordered]
    if reference.loss is None:
        alike = told_apart([_sizes(point, reference, main) for point, _ in ordered])
    else:  # one number of all sequences: those that look the same are not told apart
        alike = [True if _looks(loss) == _looks(losses[0]) else None for loss in losses]
    return tuple(
        Effect(number, point.values, loss, changes, same)
        for number, ((point, changes), loss, same) in enumerate(zip(ordered, losses, alike, strict=True), 1)
    )


def told_apart(sizes: Sequence[Sequence[float]]) -> list[bool | None]:
    """Which changes cannot be told from the first, by the paired test over sequences that a comparison uses.

    Args:
        sizes: of each point, how far every sequence moved; the first point is the one that the others are held against.

    Returns:
        True where it cannot be told from the first; None where there are too few sequences to say.

    Example:
        >>> clear, same = [2.0, 2.1, 1.9, 2.0, 2.2, 2.1, 1.8, 2.0], [1.1, 1.0, 0.9, 1.2, 1.1, 0.8, 1.0, 1.0]
        >>> told_apart([clear, clear[::-1], same])
        [True, True, False]
    """
    found: list[bool | None] = [True if each == sizes[0] and len(each) else None for each in sizes]
    tested = [i for i, each in enumerate(sizes) if found[i] is None and len(each) == len(sizes[0]) >= LEAST]
    if tested:
        chance = chances(np.array([sizes[0]]) - np.array([sizes[i] for i in tested]))
        for i, each in zip(tested, chance, strict=True):
            found[i] = bool(each > LEVEL)
    return found


def _sizes(point: Point, reference: Point, label: str) -> list[float]:
    """How far a measure moved at the last layer, sequence by sequence, in the direction of the mean."""
    after, before = last_row(point, label), last_row(reference, label)
    if after is None or before is None or len(after.samples) != len(before.samples):
        return []
    pairs = zip(after.samples, before.samples, strict=True)
    moved = [last - first for last, first in pairs if last is not None and first is not None]
    sign = -1.0 if sum(moved) < 0 else 1.0
    return [sign * each for each in moved] if len(moved) == len(after.samples) else []


def _looks(change: float | None) -> str:
    return "" if change is None else f"{change:+.3g}"


def _changes(before: dict[str, float | None], after: dict[str, float | None]) -> dict[str, float | None]:
    """The difference of each measure that both have."""
    found: dict[str, float | None] = {}
    for name, first in before.items():
        last = after.get(name)
        found[name] = None if first is None or last is None else last - first
    return found
