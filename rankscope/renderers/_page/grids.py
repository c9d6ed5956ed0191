"""The full table of the page, and what could not be measured, with the reasons."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING

from rankscope.records import display_name
from rankscope.renderers._page.model import Cell, Grid, Listing
from rankscope.renderers._parts import floor_note
from rankscope.renderers._screen import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rankscope.renderers._page.reading import Measured, Strand
    from rankscope.renderers._parts import Footnotes

_EMPTY = Cell("")


def full_table(strands: Sequence[Strand], measured: Sequence[Measured], telling: int, notes: Footnotes) -> Grid | None:
    """A line for each layer of each strand, a column for each measure.

    Args:
        strands: the strands.
        measured: the measures, in the order of the columns.
        telling: how many of them a reader should see first.
        notes: holds the reasons that the cells refer to.

    Returns:
        The table; None where there is no measure.
    """
    if not measured:
        return None
    several = len({strand.model for strand in strands}) > 1
    stacks = any(strand.name != strand.model for strand in strands)
    names = ("model",) * several + ("stack",) * stacks + ("k", "layer")
    columns = {each.label: {id(curve.strand): curve for curve in each.curves} for each in measured}
    lines = []
    for strand in strands:
        curves = [found.get(id(strand)) for found in columns.values()]
        for i, (k, layer) in enumerate(zip(strand.table.index, strand.table.names, strict=True)):
            where = (strand.model,) * several + (display_name(strand.table.stack),) * stacks
            cells = [
                _EMPTY if c is None or (row := c.rows[i]) is None else _cell(row.status, *c.texts[i]) for c in curves
            ]
            lines.append(((*where, str(k), display_name(layer)), tuple(cells)))
    floor = floor_note(strands[0].report) if notes.floor else ""
    return Grid(names, tuple(columns), telling, tuple(lines), tuple(notes.texts), floor)


def _cell(status: str, text: str, mark: int) -> Cell:
    """A cell; a number that is not finite counts as undefined."""
    return Cell(text, ("undefined" if status == "ok" else status) if mark else "", mark)


def missing(strands: Sequence[Strand], measured: Sequence[Measured], notes: Footnotes) -> Listing | None:
    """What has no number, and why: layers with the same reason on one line.

    Args:
        strands: the strands.
        measured: the measures.
        notes: holds the reasons.

    Returns:
        The table; None where nothing is missing.
    """
    found: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for each in measured:
        for curve in each.curves:
            for k, (_, mark) in zip(curve.strand.table.index, curve.texts, strict=True):
                if mark:
                    found[curve.strand.name, each.label, mark].append(k)
    lines = [(name, label, spans(ks), notes.texts[mark - 1]) for (name, label, mark), ks in found.items()]
    for strand in {strand.model: strand for strand in strands}.values():
        skipped = strand.report.coverage.skipped.items()
        lines += [(strand.model, "every measure", display_name(layer), plain(why)) for layer, why in skipped]
    if not lines:
        return None
    headings = ("model", "measure", "layers", "why there is no number")
    return Listing("By measure and layer", "", headings, tuple(lines), frozenset(range(4)))


def spans(ks: Iterable[int]) -> str:
    """Layer indices in words.

    Args:
        ks: indices in rising order.

    Returns:
        Runs of them.

    Example:
        >>> spans([1, 2, 3, 7])
        'k = 1…3, 7'
    """
    runs = [[k for _, k in group] for _, group in groupby(enumerate(ks), key=lambda pair: pair[1] - pair[0])]
    return "k = " + ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}…{run[-1]}" for run in runs)
