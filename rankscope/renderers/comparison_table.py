"""Table of a comparison on the screen: the models beside each other, a line a layer, and the sentence at the end."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TextIO

from rich.text import Text

from rankscope.records import display_name
from rankscope.renderers import COMPARISONS, Style, renderer
from rankscope.renderers._comparison import alone, facts, legend, sides, sign
from rankscope.renderers._comparison_end import ends, headings, signed
from rankscope.renderers._parts import inputs_line
from rankscope.renderers._screen import Screen, plain
from rankscope.table import Column as Named
from rankscope.table import numbers

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from rankscope.comparison import Comparison, Pair
    from rankscope.renderers._comparison import Column, Side
    from rankscope.renderers._comparison_end import End

MOST_LINES = 32  # layers; of a deeper stack the ends and where the models part are shown, and some between
_COLORS = {"↑": "green", "↓": "red"}
_ROOM, _LEAST = 110, 72  # columns of a screen


@renderer("table", ".txt", of=COMPARISONS)
def write(comparison: Comparison, stream: TextIO, style: Style) -> None:
    """Write a comparison for a screen of `style.columns`.

    Args:
        comparison: any.
        stream: where to.
        style: what the screen can show.
    """
    screen = Screen(style)
    screen.pairs([*facts(comparison), ("inputs", inputs_line(comparison.inputs))])
    for side in sides(comparison):
        screen.line()
        _side(screen, comparison, side)
    for pair in comparison.pairs:
        if found := ends(pair, style.unicode):
            screen.line()
            _ends(screen, pair, found)
    screen.line()
    screen.pairs(legend(comparison, style.unicode), label="dim")
    screen.pairs(alone(comparison), label="dim")
    screen.line()
    for told in comparison.sentence.splitlines():
        screen.line(plain(told), "bold")
    screen.line()
    notes = [note for note in comparison.notes if note.text not in style.announced]
    screen.pairs([("note", f"{plain(note.text)} [{plain(note.code)}]") for note in notes])
    stream.write(screen.text())


def _side(screen: Screen, comparison: Comparison, side: Side) -> None:
    """One stack: as many measures as there is room for, and a line each for those that there is not."""
    style = screen.style
    screen.line(Text(display_name(side.stack) or "model", style="bold"))
    lines = list(range(len(side.lines))) if style.every else _chosen(comparison, side)
    texts = {column.label: _texts(comparison, column, lines, style.unicode) for column in side.columns}
    groups = _groups(screen, side, texts, lines)
    for i, group in enumerate(groups if style.every else groups[:1]):
        if i:
            screen.line()
        screen.console.print(_layers(screen, comparison, side, group, texts, lines))
    more = [] if style.every else [column.label for group in groups[1:] for column in group]
    if more or len(lines) < len(side.lines):
        left = len(side.lines) - len(lines)
        told = [f"{left} more layers"] * bool(left) + [f"{len(more)} more measures"] * bool(more)
        screen.line(f"{' and '.join(told)}: -v or -o FILE.csv", "dim")


def _chosen(comparison: Comparison, side: Side) -> list[int]:
    """Which lines are shown of a deep stack: both ends, where the models part, and some evenly between."""
    count = len(side.lines)
    if count <= MOST_LINES:
        return list(range(count))
    firsts = {pair.first.layer_index for pair in comparison.pairs if pair.first and pair.first.stack == side.stack}
    wanted = {0, 1, count - 1}
    wanted |= {i + d for i, line in enumerate(side.lines) for d in (-1, 0, 1) if line.index in firsts}
    room = max(2, MOST_LINES - len(wanted))
    wanted |= {round(j * (count - 1) / (room - 1)) for j in range(room)}
    return sorted(i for i in wanted if 0 <= i < count)


def _texts(comparison: Comparison, column: Column, lines: list[int], unicode: bool) -> list[tuple[str, list[str]]]:
    """The columns of one measure: the numbers of each model, and of two models the difference."""
    values = [[of_one[i] for i in lines] for of_one in column.values]
    flat = numbers([value for of_one in values for value in of_one])
    found = []
    for j, subject in enumerate(comparison.subjects):
        shown = flat[j * len(lines) : (j + 1) * len(lines)]
        signs = [sign(column.cells[i][j - 1], unicode) if j else "" for i in lines]
        room = any(signs)
        found.append((subject.letter, [text + (mark or " ") * room for text, mark in zip(shown, signs, strict=True)]))
    if len(comparison.pairs) == 1:
        pair = comparison.pairs[0]
        entries = [column.cells[i][0] for i in lines]
        told = ["" if e is None else signed(e.difference, 2) for e in entries]
        found.append((f"{pair.other}{'−' if unicode else '-'}{pair.reference}", told))
    return found


def _width(screen: Screen, side: Side, lines: list[int]) -> int:
    """The width of the column of names."""
    longest = max((Text(display_name(side.lines[i].name)).cell_len for i in lines), default=5)
    return max(5, min(longest, max(14, screen.width // 4)))


def _groups(
    screen: Screen, side: Side, texts: dict[str, list[tuple[str, list[str]]]], lines: list[int]
) -> list[list[Column]]:
    """Measures in groups that fit beside the names; those of one measure stay together."""
    room = screen.width - 5 - _width(screen, side, lines) - (5 * len(side.lines[0].beside) if side.shifted else 0)
    groups: list[list[Column]] = [[]]
    used = 0
    for column in side.columns:
        need = sum(max(len(head), *map(len, cells)) + 2 for head, cells in texts[column.label])
        need += max(0, _head(column) - max(map(len, texts[column.label][0][1])))
        if used + need > room and groups[-1]:
            groups.append([])
            used = 0
        groups[-1].append(column)
        used += need
    return groups


def _head(column: Column) -> int:
    return max(map(len, _heading(column)))


def _heading(column: Column) -> list[str]:
    return Named(column.label, column.measure, ()).heading.splitlines()


def _layers(
    screen: Screen,
    comparison: Comparison,
    side: Side,
    columns: list[Column],
    texts: dict[str, list[tuple[str, list[str]]]],
    lines: list[int],
) -> Grid:
    """A line for each chosen layer."""
    height = max((len(_heading(column)) for column in columns), default=0)
    above = "\n" * height
    grid = screen.grid([(f"{above}k", "right"), (f"{above}layer", "fold")])
    grid.columns[1].width = _width(screen, side, lines)
    for pair in comparison.pairs if side.shifted else ():
        grid.add_column(Text(f"{above}k {pair.other}"), justify="right", no_wrap=True)
    for column in columns:
        heading = "\n".join([*[""] * (height - len(_heading(column))), *_heading(column)])
        for j, (head, _) in enumerate(texts[column.label]):
            grid.add_column(Text(f"{above if j else heading + chr(10)}{head}"), justify="right", no_wrap=True)
    gaps = [b - a > 1 for a, b in pairwise(lines)] + [False]
    for at, (i, gap) in enumerate(zip(lines, gaps, strict=True)):
        line = side.lines[i]
        cells = [Text(str(line.index)), Text(display_name(line.name))]
        cells += [Text("" if k is None else str(k)) for k in (line.beside if side.shifted else ())]
        for column in columns:
            cells += [Text(found[at], style=_COLORS.get(found[at][-1:], "")) for _, found in texts[column.label]]
        grid.add_row(*cells)
        if gap:
            grid.add_row(Text(""), Text("⋮" if screen.style.unicode else ":", style="dim"))
    return grid


def _ends(screen: Screen, pair: Pair, found: list[End]) -> None:
    """Each measure at the end of the two models, with what there is room for."""
    left_out = [] if screen.width >= _ROOM else [3]  # the interval
    left_out += [] if screen.width >= _LEAST else [2]  # the difference
    heads = headings(pair) if screen.style.unicode else tuple(head.replace("−", "-") for head in headings(pair))
    kept = [i for i in range(len(heads)) if i not in left_out]
    aligned = ["fold" if i == len(heads) - 1 else "right" for i in kept]
    grid = screen.grid([("measure", "left"), *((heads[i], how) for i, how in zip(kept, aligned, strict=True))])
    for end in found:
        grid.add_row(Text(end.label), *(Text(end.texts[i]) for i in kept))
    screen.console.print(grid)
