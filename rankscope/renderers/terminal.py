"""Terminal: the table on the screen, with a curve over depth for each measure and the verdict in words.

Names of layers are untrusted: they are set as `Text`, never as markup, after `display_name`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.table import Table as Grid
from rich.text import Text

from rankscope.depth import Limits
from rankscope.records import display_name
from rankscope.renderers import Style, renderer
from rankscope.renderers._parts import (
    VERDICT_MEASURES,
    Footnotes,
    cells,
    coverage,
    facts,
    floor_note,
    learned,
    lengths,
    split,
    verdict,
    what_helps,
)
from rankscope.renderers._screen import Screen, common_prefix, folded, plain
from rankscope.table import ends, sparkline, tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Report
    from rankscope.table import Column, Table

_COLORS = {"healthy": "bold green", "thinning": "bold yellow", "collapsed": "bold red", "undefined": "bold magenta"}
_CURVE = 24  # a curve is given this many characters before anything else


@renderer("table", ".txt")
def write(reports: Sequence[Report], stream: TextIO, style: Style) -> None:
    """Write the tables of reports for a screen of `style.columns`, one report after the other.

    Args:
        reports: any reports.
        stream: where to.
        style: what the screen can show.
    """
    screen = Screen(style)
    for number, report in enumerate(reports):
        if number:
            screen.line()
            screen.line(("─" if style.unicode else "-") * screen.width, "dim")
        screen.pairs(facts(report))
        for table in tables(report):
            screen.line()
            _stack(screen, report, table)
        screen.line()
        _end(screen, report)
    stream.write(screen.text())


def _stack(screen: Screen, report: Report, table: Table) -> None:
    """One stack: title, layers, curves, verdict, and what the marks mean."""
    style, notes = screen.style, Footnotes()
    shown, absent = split(table)
    title = Text(display_name(table.stack) or "model", style="bold")
    screen.line(title.append(_blocks(report, table.stack, screen.times), style="not bold"))
    if prefix := _prefix(table, screen.width):
        screen.line(f"names of layers begin with {prefix}", "dim")
    texts = {column.label: cells(column, notes, style.unicode) for column in shown}
    groups = _groups(shown, texts, table, screen.width)
    for i, group in enumerate(groups if style.every else groups[:1]):
        if i:
            screen.line()
        screen.console.print(_layers(screen, table, group, texts))
    if len(groups) > 1 and not style.every:
        more = sum(len(group) for group in groups[1:])
        some = "measure" if more == 1 else "measures"
        told = f"{more} more {some}: -v, a wider screen or -o FILE.csv; the curves are below"
        screen.line(told, "dim")
    screen.pairs(learned(report, table.stack))
    marks = [(screen.mark(i + 1), text) for i, text in enumerate(notes.texts)]
    marks += [("≤" if style.unicode else "<", floor_note(report))] if notes.floor else []
    screen.pairs(marks, label="dim")
    screen.pairs(absent, label="dim")
    if shown:
        screen.line()
        screen.console.print(_curves(table, shown, screen.width, style))
    screen.line()
    found = verdict(report, table.stack)
    if found is not None:
        word, text = found
        line = Text(text)
        line.stylize(_COLORS.get(word, "bold"), 0, len(word))
        screen.line(line)
        if helps := what_helps(word):
            screen.line(f"what helps: {helps}", "dim")


def _blocks(report: Report, stack: str, times: str) -> str:
    """How many blocks of which class and shape, where they are all alike."""
    layers = [layer for layer in report.layers if layer.stack == stack and layer.index > 0]
    kinds = {(layer.type, layer.shape) for layer in layers}
    if len(kinds) != 1:
        return f": {len(layers)} layers" if layers else ""
    kind, shape = kinds.pop()
    span = lengths(report.inputs)
    size = ("up to " if span and span[0] != span[1] else "") + f" {times} ".join(str(n) for n in shape)
    return f": {len(layers)} {times} {display_name(kind)}" + (f", {size}" if size else "")


def _name_width(table: Table, width: int) -> int:
    """The width of the column of names: enough for all, but at most a third of the screen."""
    longest = max((Text(name).cell_len for name in _names(table, width)), default=0)
    return max(5, min(longest, _most(width)))


def _most(width: int) -> int:
    return max(16, width // 3)


def _prefix(table: Table, width: int) -> str:
    """What all names begin with, up to a dot, where they are too long for their column; the title says it once."""
    return common_prefix([display_name(name) for name in table.names], _most(width))


def _names(table: Table, width: int) -> list[str]:
    return [display_name(name).removeprefix(_prefix(table, width)) for name in table.names]


def _column_width(column: Column, texts: list[tuple[str, int]]) -> int:
    head = max(len(line) for line in column.heading.splitlines())
    return max([head, *(len(text) + len(str(mark)) * (mark > 0) for text, mark in texts)])


def _groups(
    columns: list[Column], texts: dict[str, list[tuple[str, int]]], table: Table, width: int
) -> list[list[Column]]:
    """Columns in groups that fit beside the names, the most telling ones first."""
    room = width - len(str(table.index[-1] if table.index else 0)) - 2 - _name_width(table, width)
    groups: list[list[Column]] = [[]]
    used = 0
    for column in columns:
        need = _column_width(column, texts[column.label]) + 2
        if used + need > room and groups[-1]:
            groups.append([])
            used = 0
        groups[-1].append(column)
        used += need
    return groups


def _layers(screen: Screen, table: Table, columns: list[Column], texts: dict[str, list[tuple[str, int]]]) -> Grid:
    """A line for each layer, a column for each measure."""
    height = max((column.heading.count("\n") for column in columns), default=0)
    grid = screen.grid([("\n" * height + "k", "right"), ("\n" * height + "layer", "fold")])
    grid.columns[1].width = _name_width(table, screen.width)
    for column in columns:
        above = "\n" * (height - column.heading.count("\n"))  # rich sets a heading at the top
        grid.add_column(Text(above + column.heading), justify="right", no_wrap=True)
    for i, (k, name) in enumerate(zip(table.index, _names(table, screen.width), strict=True)):
        line = [Text(str(k)), Text(folded(name, _name_width(table, screen.width)))]
        for column in columns:
            text, mark = texts[column.label][i]
            line.append(Text(text + (screen.mark(mark) if mark else ""), style=_alarm(column, i)))
        grid.add_row(*line)
    return grid


def _alarm(column: Column, i: int) -> str:
    """The colour of a number under a limit of the verdict; the sentence says the same in words."""
    value, limits = column.values[i], Limits()
    if value is None or column.label not in VERDICT_MEASURES:
        return ""
    return "red" if value < limits.collapsed else "yellow" if value < limits.thinning else ""


def _curves(table: Table, columns: list[Column], width: int, style: Style) -> Grid:
    """Each measure over depth: a curve, its ends, and what there is room for to hold them against."""
    dots = "…" if style.unicode else ".."
    span = f"k = {table.index[0]} {dots} {table.index[-1]}"
    heads = ["first", "last", "reference", f"last: min {dots} max"]
    found = [ends(column) for column in columns]
    texts = [(end.first, end.last, end.reference, f"{end.low} {dots} {end.high}" if end.low else "") for end in found]
    widths = [max(len(head), *(len(text[i]) for text in texts)) + 2 for i, head in enumerate(heads)]
    most = max(len(column.label) for column in columns)
    room = width - most - 4 - sum(widths[:2])
    extra = [i for i in (2, 3) if any(text[i] for text in texts)]
    while extra and room - sum(widths[i] for i in extra) < max(len(span), min(len(table.index), _CURVE)):
        extra.pop()
    curve = max(len(span), room - sum(widths[i] for i in extra))
    label = max(5, most - max(0, curve - room))  # on a narrow screen names are folded, numbers never cut
    grid = Grid(box=None, show_edge=False, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    grid.add_column(Text("over depth"), overflow="fold", width=label)
    grid.add_column(Text(span), no_wrap=True)
    for i in (0, 1, *extra):
        grid.add_column(Text(heads[i]), no_wrap=True, justify="right")
    for column, text in zip(columns, texts, strict=True):
        line = sparkline(column.values, not style.unicode, curve)
        grid.add_row(*(Text(part) for part in (folded(column.label, label), line, *(text[i] for i in (0, 1, *extra)))))
    return grid


def _end(screen: Screen, report: Report) -> None:
    """The coverage line and the notes."""
    pairs = [("layers", coverage(report))]
    pairs += [
        ("note", f"{plain(note.text)} [{plain(note.code)}]")
        for note in report.notes
        if screen.style.notes and note.text not in screen.style.announced
    ]
    screen.pairs(pairs)
