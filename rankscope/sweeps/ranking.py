"""Ranking: which point changes the model most, for a sweep that drops its layers one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.depth import RESIDUAL
from rankscope.sweeps.axes import over_layers
from rankscope.sweeps.curves import finals
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

    return tuple(
        Effect(number, point.values, loss_change(point), changes)
        for number, (point, changes) in enumerate(sorted(found, key=size), 1)
    )


def _changes(before: dict[str, float | None], after: dict[str, float | None]) -> dict[str, float | None]:
    """The difference of each measure that both have."""
    found: dict[str, float | None] = {}
    for name, first in before.items():
        last = after.get(name)
        found[name] = None if first is None or last is None else last - first
    return found
