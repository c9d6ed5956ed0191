"""Growth: extra time of a probe and of the naive hook as one size grows and the others stay."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.setting import Setting
from benchmarks.timing import extra, interleave

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BASE = Setting(8, 128, depth=4, width=256, heads=4, vocab=256)
AXES: dict[str, tuple[int, ...]] = {
    "tokens": (32, 64, 128, 256, 512),
    "width": (64, 128, 256, 512, 1024),
    "depth": (2, 4, 8, 16),
    "batches": (1, 2, 4, 8),
}
ROUNDS = 3


def growth(threads: int, base: Setting = BASE, axes: Mapping[str, Sequence[int]] = AXES) -> dict[str, Any]:
    """Time the preset `forward` and the naive hook along each size.

    Args:
        threads: of torch.
        base: the sizes that stay.
        axes: the values of each size.

    Returns:
        Of each size its values, and the median seconds of the plain forward and extra seconds of the two.
    """
    found: dict[str, Any] = {"base": base.dict(), "rounds": ROUNDS, "axes": {}}
    for name, values in axes.items():
        points = found["axes"][name] = []
        for value in values:
            timed = interleave(replace(base, **{name: value}), ("plain", "forward", "naive"), ROUNDS, threads)
            points.append(
                {
                    "at": value,
                    "plain": statistics.median(timed["plain"]),
                    "forward": extra(timed, "forward"),
                    "naive": extra(timed, "naive"),
                }
            )
    return found
