"""Alignment: which layer of one model stands beside which of another, and which stand alone.

Stacks are matched by name, and those left over in order. Within two stacks layers are matched by name where they share
any, else by relative depth k/K: each layer of the reference with the nearest of the other.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rankscope.comparison.records import Match

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.comparison.records import Alignment
    from rankscope.records import Layer

ALIGNMENTS: tuple[Alignment, ...] = ("name", "depth")


def align(reference: Sequence[Layer], other: Sequence[Layer], by: Alignment | None = None) -> tuple[Match, ...]:
    """Match the layers of two models.

    Args:
        reference: layers of the one, in the order of its report.
        other: layers of the other.
        by: ``name`` or ``depth`` alone; None tries names first, stack by stack.

    Returns:
        The matches, in the order of the reference. A layer of the other may stand beside several of a deeper reference.

    Example:
        >>> from rankscope.records import Layer
        >>> deep, flat = ([Layer("h", k, f"h.{k}", "Block") for k in range(size)] for size in (5, 3))
        >>> [(match.reference.index, match.other.index) for match in align(deep, flat, "depth")]
        [(0, 0), (1, 1), (2, 1), (3, 1), (4, 2)]
        >>> [(match.reference.index, match.other.index) for match in align(deep, flat)]
        [(0, 0), (1, 1), (2, 2)]
    """
    found: list[Match] = []
    for ours, theirs in _stacks(_by_stack(reference), _by_stack(other)):
        matched = [] if by == "depth" else _by_name(ours, theirs)
        found += matched or ([] if by == "name" else _by_depth(ours, theirs))
    order = {(layer.stack, layer.index): i for i, layer in enumerate(reference)}
    return tuple(sorted(found, key=lambda match: order[match.reference.stack, match.reference.index]))


def _by_stack(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    stacks: dict[str, list[Layer]] = {}
    for layer in layers:
        stacks.setdefault(layer.stack, []).append(layer)
    return stacks


def _stacks(ours: dict[str, list[Layer]], theirs: dict[str, list[Layer]]) -> list[tuple[list[Layer], list[Layer]]]:
    """Stacks of the same name, then the others in order."""
    same = [name for name in ours if name in theirs]
    left = [[name for name in stacks if name not in same] for stacks in (ours, theirs)]
    pairs = [(name, name) for name in same] + list(zip(*left, strict=False))
    return [(ours[mine], theirs[yours]) for mine, yours in pairs]


def _by_name(ours: list[Layer], theirs: list[Layer]) -> list[Match]:
    """Layers of the same name; a block that is called several times by the number of the call."""
    named = dict(zip(_names(theirs), theirs, strict=True))
    return [Match(layer, named[name], "name") for name, layer in zip(_names(ours), ours, strict=True) if name in named]


def _names(layers: list[Layer]) -> list[tuple[str, int]]:
    seen: Counter[str] = Counter()
    names = []
    for layer in layers:
        names.append((layer.name, seen[layer.name]))
        seen[layer.name] += 1
    return names


def _by_depth(ours: list[Layer], theirs: list[Layer]) -> list[Match]:
    """The nearest relative depth; the input of a stack stands beside the input alone."""
    found = []
    for layer in ours:
        fitting = [candidate for candidate in theirs if (candidate.index == 0) == (layer.index == 0)]
        if fitting:
            depth = _depth(layer, ours)
            nearest = min(fitting, key=lambda candidate: abs(_depth(candidate, theirs) - depth))
            found.append(Match(layer, nearest, "depth"))
    return found


def _depth(layer: Layer, stack: list[Layer]) -> float:
    return layer.index / max(1, *(each.index for each in stack))
