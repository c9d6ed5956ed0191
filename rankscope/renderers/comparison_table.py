"""Table of a comparison on the screen: the models beside each other, a line a layer, and the sentence at the end."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TextIO

from rich.text import Text

from rankscope.records import display_name
from rankscope.renderers import COMPARISONS, Style, renderer
from rankscope.renderers._comparison import alone, facts, legend, sides
from rankscope.renderers._comparison_cells import Marks, texts
from rankscope.renderers._comparison_end import ends, headings, signed
from rankscope.renderers._parts import inputs_line
from rankscope.renderers._screen import Screen, common_prefix, folded, plain
from rankscope.table import Column as Named

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from rankscope.comparison import Comparison, Pair
    from rankscope.renderers._comparison import Column, Side
    from rankscope.renderers._comparison_end import End

MOST_LINES = 32  # layers; of a deeper stack the ends and where the models part are shown, and some between
_COLORS = {"↑": "green", "↓": "red"}
_NAME, _WHERE = 10, 16  # the least columns of a screen for a measure, and for where it differs from
_SPARE = (3, 2, 4)  # what is left out first where there is no room: the interval, the difference, the ratio


@dataclass(frozen=True, slots=True)
class _Part:
    """Columns of one measure that stand together: the heading, and for each column its letter and its cells."""

    heading: tuple[str, ...]
    columns: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def width(self) -> int:
        """In signs, with the gap before each column; the heading stands over the first."""
        own = [max(len(head), *map(len, cells)) for head, cells in self.columns]
        return sum(own) + 2 * len(own) + max(0, max(map(len, self.heading)) - own[0])


@renderer("table", ".txt", of=COMPARISONS)
def write(comparison: Comparison, stream: TextIO, style: Style) -> None:
    """Write a comparison for a screen of `style.columns`.

    Args:
        comparison: any.
        stream: where to.
        style: what the screen can show.
    """
    screen, marks = Screen(style), Marks(style.unicode)
    screen.pairs([*facts(comparison), ("inputs", inputs_line(comparison.inputs))])
    for side in sides(comparison):
        screen.line()
        _side(screen, comparison, side, marks)
    for pair in comparison.pairs:
        if found := ends(comparison, pair, marks):
            screen.line()
            _ends(screen, pair, found)
    screen.line()
    screen.pairs([*legend(comparison, style.unicode), *marks.legend()], label="dim")
    screen.pairs(alone(comparison), label="dim")
    screen.line()
    for told in comparison.sentence.splitlines():
        screen.line(plain(told), "bold")
    screen.line()
    notes = [note for note in comparison.notes if note.text not in style.announced]
    screen.pairs([("note", f"{plain(note.text)} [{plain(note.code)}]") for note in notes])
    stream.write(screen.text())


def _side(screen: Screen, comparison: Comparison, side: Side, marks: Marks) -> None:
    """One stack: as many measures as there is room for, and a line that says how many more there are."""
    style = screen.style
    screen.line(Text(display_name(side.stack) or "model", style="bold"))
    lines = list(range(len(side.lines))) if style.every else _chosen(comparison, side)
    names = [display_name(side.lines[i].name) for i in lines]
    most = max(16, screen.width // 3)
    if prefix := common_prefix(names, most):
        screen.line(f"names of layers begin with {prefix}", "dim")
    names = [name.removeprefix(prefix) for name in names]
    width = max(5, min(max((Text(name).cell_len for name in names), default=5), most))
    beside = [f"k {pair.other}" for pair in comparison.pairs] if side.shifted else []
    room = screen.width - width - 2 - len(str(side.lines[-1].index)) - sum(max(len(each), 3) + 2 for each in beside)
    names = [folded(name, width) for name in names]
    groups, count = _groups(comparison, side, lines, marks, (room, style.every))
    for i, group in enumerate(groups):
        if i:
            screen.line()
        screen.console.print(_layers(screen, side, group, lines, (names, beside)))
    more, left = len(side.columns) - count, len(side.lines) - len(lines)
    if more or left:
        told = [f"{left} more layers"] * bool(left)
        told += [f"{more} more {'measure' if more == 1 else 'measures'}"] * bool(more)
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


def _groups(
    comparison: Comparison, side: Side, lines: list[int], marks: Marks, room: tuple[int, bool]
) -> tuple[list[list[_Part]], int]:
    """Measures in tables that fit beside the names, and how many they are: all, or those of the first table."""
    width, every = room
    groups: list[list[_Part]] = []
    for count, column in enumerate(side.columns):
        trial = Marks(marks.unicode, list(marks.reasons), marks.floor)
        parts = _parts(comparison, column, lines, trial, width)
        fits = len(parts) == 1 and groups and sum(part.width for part in groups[-1]) + parts[0].width <= width
        if groups and not fits and not every:
            return groups, count
        marks.reasons, marks.floor = trial.reasons, trial.floor
        if fits:
            groups[-1] += parts
        else:
            groups += [[part] for part in parts]
    return groups, len(side.columns)


def _parts(comparison: Comparison, column: Column, lines: list[int], marks: Marks, room: int) -> list[_Part]:
    """The columns of one measure: each model, and of two models the difference; in several parts where they must."""
    heading = tuple(Named(column.label, column.measure, ()).heading.splitlines())
    letters = [subject.letter for subject in comparison.subjects]
    own = [(letter, tuple(cells)) for letter, cells in zip(letters, texts(column, lines, marks), strict=True)]
    if len(letters) == 2:
        entries = [column.cells[i][0] for i in lines]
        told = tuple("" if e is None else signed(e.difference, 2) for e in entries)
        whole = _Part(heading, (*own, (f"{letters[1]}{'−' if marks.unicode else '-'}{letters[0]}", told)))
        if whole.width <= room:
            return [whole]
    parts = [_Part(heading, tuple(own[:2]))]
    for each in own[2:]:
        wider = _Part(heading, (*parts[-1].columns, each))
        parts[-1:] = [wider] if wider.width <= room else [parts[-1], _Part(heading, (own[0], each))]
    return parts


def _layers(
    screen: Screen, side: Side, parts: list[_Part], lines: list[int], before: tuple[list[str], list[str]]
) -> Grid:
    """A line for each chosen layer; before the numbers its name, and the index of what stands beside it."""
    names, beside = before
    height = max((len(part.heading) for part in parts), default=0)
    above = "\n" * height
    grid = screen.grid([(f"{above}k", "right"), (f"{above}layer", "left")])
    for heading in beside:
        grid.add_column(Text(f"{above}{heading}"), justify="right", no_wrap=True)
    for part in parts:
        heading = "\n".join([*[""] * (height - len(part.heading)), *part.heading])
        for j, (head, _) in enumerate(part.columns):
            grid.add_column(Text(f"{above if j else heading + chr(10)}{head}"), justify="right", no_wrap=True)
    gaps = [b - a > 1 for a, b in pairwise(lines)] + [False]
    for at, (i, gap) in enumerate(zip(lines, gaps, strict=True)):
        line = side.lines[i]
        cells = [Text(str(line.index)), Text(names[at])]
        cells += [Text("" if k is None else str(k)) for k in (line.beside if beside else ())]
        for _, found in (column for part in parts for column in part.columns):
            cells.append(Text(found[at], style=_COLORS.get(found[at][-1:], "")))
        grid.add_row(*cells)
        if gap:
            grid.add_row(Text(""), Text("⋮" if screen.style.unicode else ":", style="dim"))
    return grid


def _ends(screen: Screen, pair: Pair, found: list[End]) -> None:
    """Each measure at the end of the two models, with what there is room for; no number is ever cut."""
    heads = headings(pair) if screen.style.unicode else tuple(head.replace("−", "-") for head in headings(pair))
    where = len(heads) - 1
    widths = [max(len(heads[i]), *(len(end.texts[i]) for end in found)) + 2 for i in range(where)]
    name = max(len(end.label) for end in found)
    kept = list(range(where + 1))

    def room() -> int:
        return screen.width - sum(widths[i] for i in kept if i != where) - (_WHERE + 2) * (where in kept)

    for spare in (*_SPARE, where):
        if room() < (name if spare == _SPARE[0] else min(name, _NAME)):
            kept.remove(spare)
    grid = screen.grid([("measure", "left"), *((heads[i], "fold" if i == where else "right") for i in kept)])
    width = min(name, room())
    rest = max(_WHERE, room() - width + _WHERE)
    for end in found:
        texts_of = [Text(folded(text, rest) if i == where else text) for i, text in enumerate(end.texts) if i in kept]
        grid.add_row(Text(folded(end.label, width)), *texts_of)
    screen.console.print(grid)
