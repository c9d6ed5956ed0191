"""Table of a certificate on the screen: the worst sequence, a line a block, then the three certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.text import Text

from rankscope.certificate.words import AS_MEASURED
from rankscope.records import display_name
from rankscope.renderers import CERTIFICATES, Style, renderer
from rankscope.renderers._certificate import (
    about,
    facts,
    grid,
    headings,
    hypotheses,
    legend,
    outcomes,
    title,
)
from rankscope.renderers._screen import Screen, common_prefix, folded, plain, spell
from rankscope.table import sparkline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from rankscope.certificate import Certificate, Sequence, Stack
    from rankscope.renderers._certificate import Column, Grid

_COLORS: dict[str, str] = {
    "holds": "bold green",
    AS_MEASURED: "bold yellow",
    "fails": "bold red",
    "undefined": "bold magenta",
}
_CURVE = 48  # the most columns of a curve


@renderer("table", ".txt", of=CERTIFICATES)
def write(certificate: Certificate, stream: TextIO, style: Style) -> None:
    """Write a certificate for a screen of `style.columns`.

    Args:
        certificate: any.
        stream: where to.
        style: what the screen can show; `every` shows all sequences and columns.
    """
    screen = Screen(style)
    screen.pairs(_told(screen, facts(certificate)))
    for stack in certificate.stacks:
        screen.line()
        screen.line(
            Text(display_name(stack.stack) or "model", style="bold").append(
                _spelt(screen, title(stack)), style="not bold"
            )
        )
        for sequence in stack.sequences if style.every else stack.sequences[:1]:
            _sequence(screen, stack, sequence)
        screen.line()
        _outcomes(screen, stack)
        if told := hypotheses(stack.worst.theorem):
            screen.pairs(_told(screen, [("Theorem 4.1", told)]), label="dim")
        screen.line()
        screen.line(_spelt(screen, plain(stack.sentence)), "bold")
    screen.line()
    notes = [note for note in certificate.notes if style.notes and note.text not in style.announced]
    screen.pairs(_told(screen, [("note", f"{plain(note.text)} [{plain(note.code)}]") for note in notes]))
    stream.write(screen.text())


def _sequence(screen: Screen, stack: Stack, sequence: Sequence) -> None:
    """The blocks of one sequence, with as many columns as there is room for, and mu over depth."""
    found = grid(stack, sequence)
    screen.line(about(sequence, len(stack.sequences)), "dim")
    prefix = common_prefix(found.names, _most(screen))
    if prefix:
        screen.line(f"names of layers begin with {prefix}", "dim")
    names = [name.removeprefix(prefix) for name in found.names]
    width = max(5, min(max(Text(name).cell_len for name in names), _most(screen)))
    groups = _groups(screen, found, width)
    for i, group in enumerate(groups if screen.style.every else groups[:1]):
        if i:
            screen.line()
        screen.console.print(_layers(screen, found, group, [folded(name, width) for name in names]))
    if more := 0 if screen.style.every else sum(map(len, groups[1:])):
        screen.line(f"{more} more {'column' if more == 1 else 'columns'}: -v, a wider screen or -o FILE.csv", "dim")
    screen.pairs(_told(screen, [(screen.mark(i + 1), text) for i, text in enumerate(found.reasons)]), label="dim")
    absent = [("absent", f"{', '.join(names)}: {why}") for why, names in found.absent.items()]
    screen.pairs(_told(screen, absent), label="dim")
    shown = {column.heading for group in (groups if screen.style.every else groups[:1]) for column in group}
    screen.pairs(_told(screen, legend(shown)), label="dim")
    _curves(screen, found)


def _most(screen: Screen) -> int:
    return max(14, screen.width // 4)


def _groups(screen: Screen, found: Grid, name: int) -> list[list[Column]]:
    """Columns in groups that fit beside the names."""
    room, used = screen.width - name - 2 - len(str(found.index[-1])), 0
    groups: list[list[Column]] = [[]]
    for column in found.columns:
        cells = (len(text) + len(str(mark)) * (mark > 0) for text, mark in column.cells)
        need = max(len(_spelt(screen, column.heading)), *cells) + 2
        if used + need > room and groups[-1]:
            groups.append([])
            used = 0
        groups[-1].append(column)
        used += need
    return groups


def _spelt(screen: Screen, text: str) -> str:
    """A text as the screen can show it; spelling makes it longer, and so comes before its place is measured."""
    return text if screen.style.unicode else spell(text.replace("·", "*"))


def _told(screen: Screen, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(_spelt(screen, label), _spelt(screen, text)) for label, text in pairs]


def _layers(screen: Screen, found: Grid, columns: list[Column], names: list[str]) -> Table:
    """A line for each block, and one for what enters the first."""
    table = screen.grid([("k", "right"), ("layer", "fold"), *((_spelt(screen, c.heading), "right") for c in columns)])
    for i, (k, name) in enumerate(zip(found.index, names, strict=True)):
        cells = [column.cells[i] for column in columns]
        texts = [text + (screen.mark(mark) if mark else "") for text, mark in cells]
        table.add_row(*map(Text, (str(k), name, *texts)))
    return table


def _curves(screen: Screen, found: Grid) -> None:
    """The curves of mu as measured, and what is certified of it, over depth and on one scale."""
    curves = [column for column in found.columns if column.heading in {"mu", "certified"}]
    if not curves:
        return
    top = max((value for column in curves for value in column.values if value is not None), default=0.0)
    screen.line()
    dots = "…" if screen.style.unicode else ".."
    lines = [("over depth", f"k = {found.index[0]} {dots} {found.index[-1]}, from 0 to {top:.4g}")]
    for column in curves:
        values = [None if value is None else max(0.0, value) for value in column.values]
        scaled = sparkline([*values, top], not screen.style.unicode)[:-1]  # the last value sets the scale
        lines.append((column.heading, scaled if len(values) <= screen.width - 14 else _short(screen, values)))
    screen.pairs(lines, label="dim")


def _short(screen: Screen, values: list[float | None]) -> str:
    """The curve of a deep stack."""
    return sparkline(values, not screen.style.unicode, _CURVE)


def _outcomes(screen: Screen, stack: Stack) -> None:
    """The three certificates; the reason takes what room there is, below the line on a narrow screen."""
    heads, lines = headings(stack), outcomes(stack)
    kept = [i for i in range(len(heads) - 1) if any(line[i] for line in lines) and (i != 5 or len(stack.sequences) > 1)]
    table = screen.grid([(_spelt(screen, heads[i]), "left" if i < 2 else "right") for i in kept])
    for line in lines:
        table.add_row(*(Text(line[i], style=_COLORS.get(line[i], "")) for i in kept))
    screen.console.print(table)
    screen.pairs(_told(screen, [(line[0], line[-1]) for line in lines if line[-1]]), label="dim")
