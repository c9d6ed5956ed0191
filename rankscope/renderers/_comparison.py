"""Parts of a comparison, shared by its formats for people: a line a layer of the reference, a column a measure."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.comparison.words import verdict
from rankscope.records import display_name
from rankscope.renderers._screen import plain
from rankscope.table import TELLING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rankscope.comparison import Comparison, Difference, Pair, Subject
    from rankscope.records import Layer

SIGNS = {"equal": "=", "noise": "≈", "untested": "?", "undefined": ""}
ASCII_SIGNS = {"equal": "=", "noise": "~", "untested": "?", "undefined": ""}


@dataclass(frozen=True, slots=True)
class Line:
    """A layer of the reference; `beside` are the indices of the layers beside it, one a pair."""

    index: int
    name: str
    beside: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One measure; `cells` holds for each line the difference of each pair, None where there is none."""

    label: str
    measure: str
    cells: tuple[tuple[Difference | None, ...], ...]

    @property
    def values(self) -> tuple[tuple[float | None, ...], ...]:
        """For each subject its numbers over the lines; the reference first."""
        first = [next((e.reference for e in line if e is not None), None) for line in self.cells]
        others = [[None if e is None else e.other for e in pair] for pair in zip(*self.cells, strict=True)]
        return (tuple(first), *map(tuple, others))


@dataclass(frozen=True, slots=True)
class Side:
    """One stack of the reference with what stands beside it."""

    stack: str
    lines: tuple[Line, ...]
    columns: tuple[Column, ...]

    @property
    def shifted(self) -> bool:
        """Whether some layer stands beside one of another index."""
        return any(k not in {None, line.index} for line in self.lines for k in line.beside)


def sides(comparison: Comparison) -> tuple[Side, ...]:
    """The differences as tables, one a stack of the reference; columns without any number are left out.

    Where a measure is taken of several parameters of a layer, the table holds the one that changed most.

    Args:
        comparison: any.

    Returns:
        The tables, the most telling columns first.
    """
    layers: dict[str, dict[int, str]] = defaultdict(dict)
    beside: dict[tuple[str, int], dict[int, int]] = defaultdict(dict)
    found: dict[str, dict[str, dict[tuple[int, int], list[Difference]]]] = defaultdict(dict)
    for i, pair in enumerate(comparison.pairs):
        for match in pair.matches:
            layer = match.reference
            layers[layer.stack][layer.index] = layer.name
            beside[layer.stack, layer.index][i] = match.other.index
        for entry in pair.differences:
            cells = found[entry.stack].setdefault(label(entry), defaultdict(list))
            cells[entry.layer_index, i].append(entry)
    made = []
    count = len(comparison.pairs)
    for stack, names in layers.items():
        index = sorted(names)
        lines = [Line(k, names[k], tuple(beside[stack, k].get(i) for i in range(count))) for k in index]
        columns = [_column(name, cells, index, count) for name, cells in found[stack].items()]
        shown = [column for column in columns if any(v is not None for values in column.values for v in values)]
        made.append(Side(stack, tuple(lines), tuple(sorted(shown, key=_order))))
    return tuple(made)


def label(entry: Difference) -> str:
    """The name of a column: the measure, with its scope, head and kind of attention where they are special.

    Args:
        entry: a difference.

    Returns:
        The name.
    """
    before = "pooled:" if entry.scope == "pooled" else ""
    before += f"{entry.parameter}:" if entry.parameter and entry.site == "attention" else ""
    return display_name(f"{before}{entry.measure}" + ("" if entry.head is None else f":head{entry.head}"))


def _column(name: str, cells: dict[tuple[int, int], list[Difference]], index: Sequence[int], count: int) -> Column:
    found = tuple(tuple(_most(cells.get((k, i), [])) for i in range(count)) for k in index)
    measure = next(entry.measure for entries in cells.values() for entry in entries)
    return Column(name, measure, found)


def _most(entries: Sequence[Difference]) -> Difference | None:
    """Of several parameters the one that changed most."""
    return max(entries, key=_change, default=None)


def _change(entry: Difference) -> float:
    if entry.difference is None:
        return -1.0
    return abs(math.log(entry.ratio)) if entry.ratio is not None and entry.ratio > 0 else abs(entry.difference)


def _order(column: Column) -> tuple[bool, int]:
    known = column.measure in TELLING
    return (column.label != column.measure, TELLING.index(column.measure) if known else len(TELLING))


def sign(entry: Difference | None, unicode: bool = True) -> str:
    """How a number stands to the reference: ↑ or ↓ beyond noise, ≈ within it, = equal, ? not tested.

    Args:
        entry: a difference, or None.
        unicode: without it ^ v ~ = ?.

    Returns:
        One sign, or nothing.
    """
    if entry is None:
        return ""
    if entry.outcome == "differs":
        up = entry.difference is not None and entry.difference > 0
        return ("↑" if up else "↓") if unicode else ("^" if up else "v")
    return (SIGNS if unicode else ASCII_SIGNS)[entry.outcome]


def legend(comparison: Comparison, unicode: bool = True) -> list[tuple[str, str]]:
    """What the signs mean, of those that are used.

    Args:
        comparison: any.
        unicode: whether the signs are.

    Returns:
        Pairs (sign, meaning).
    """
    used = {entry.outcome for pair in comparison.pairs for entry in pair.differences}
    arrows, signs = ("↑ ↓", SIGNS) if unicode else ("^ v", ASCII_SIGNS)
    reasons = {e.reason for pair in comparison.pairs for e in pair.differences if e.outcome == "untested"}
    told = "; ".join(sorted(reason for reason in reasons if reason))
    words = {
        "differs": (arrows, "more, less than A, beyond noise: under 1 % by chance, all tests of a pair counted"),
        "noise": (signs["noise"], "differs from A, but no more than the choice of sequences may do: within noise"),
        "equal": (signs["equal"], "equal within the numerical error"),
        "untested": (signs["untested"], f"not tested: {told}"),
    }
    return [pair for outcome, pair in words.items() if outcome in used]


def facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Who is compared: the letter, and the model with its parameters, time and verdict; then the inputs.

    Args:
        comparison: any.

    Returns:
        Pairs (label, text).
    """
    return [(subject.letter, _about(subject)) for subject in comparison.subjects]


def _about(subject: Subject) -> str:
    """One subject in a line."""
    count, spec = subject.parameters, subject.report.model.get("spec")
    parts = [f"of {spec}"] if spec and spec != subject.name else []
    parts += [f"{count:,} parameters"] if isinstance(count, int) else []
    parts.append(f"forward {seconds(subject)}")
    parts += [str(edit) for edit in subject.report.model.get("edits") or ()]
    parts.append(verdict(subject, why=True))
    return plain(f"{subject.name}: {', '.join(parts)}")


def seconds(subject: Subject) -> str:
    """The time of a forward pass in words.

    Args:
        subject: one of those compared.

    Returns:
        Such as ``"12 ms"``, or that it is not recorded.
    """
    time = subject.forward_seconds
    if time is None:
        return "time not recorded"
    return f"{time:.3g} s" if time >= 1 else f"{1000 * time:.3g} ms"


def alone(comparison: Comparison) -> list[tuple[str, str]]:
    """Layers that stand beside none, and measures that only one has, as pairs (label, text)."""
    lines = []
    for pair in comparison.pairs:
        whose = pair.other if len(comparison.pairs) == 1 else f"{pair.other} (beside {pair.reference})"
        without = "" if len(comparison.pairs) == 1 else f" (beside {pair.other})"
        lines += [(f"only in {pair.reference}{without}", names(pair.unmatched_reference))]
        lines += [(f"only in {whose}", names(pair.unmatched_other))]
        lines += [("not compared", text) for text in _missing(pair)]
    return [(word, text) for word, text in lines if text]


def names(layers: Iterable[Layer]) -> str:
    """Names of layers in a line.

    Args:
        layers: any.

    Returns:
        The names with commas between them.
    """
    return ", ".join(display_name(layer.name) for layer in layers)


def _missing(pair: Pair) -> list[str]:
    """Measures that nowhere have both numbers, with the reason."""
    kinds: dict[str, list[Difference]] = defaultdict(list)
    for entry in pair.differences:
        kinds[label(entry)].append(entry)
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, entries in kinds.items():
        if all(entry.outcome == "undefined" for entry in entries):
            reasons[plain(entries[0].reason or "undefined")].append(name)
    return [f"{', '.join(found)}: {reason}" for reason, found in reasons.items()]
