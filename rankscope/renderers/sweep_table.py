"""Table and pictures of a sweep on the screen: a line a point, a measure over depth and against what is swept."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.text import Text

from rankscope.records import display_name
from rankscope.renderers import SWEEPS, Style, renderer
from rankscope.renderers._axis import Axis
from rankscope.renderers._parts import inputs_line
from rankscope.renderers._plot import ASCII_MARKS, MARKS, MOST, Series, plot
from rankscope.renderers._screen import Screen, plain, spell
from rankscope.renderers._sweep import (
    along,
    chosen,
    depth_axes,
    failures,
    first_measures,
    lines,
    of_how_many,
    rows_of,
    swept_number,
    y_axis,
)
from rankscope.sweeps.axes import label as label_of
from rankscope.sweeps.curves import last_row
from rankscope.sweeps.words import guarantees, sentence
from rankscope.table import Column, number, numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.sweeps import Sweep

MOST_LINES = 40  # points; of a longer sweep some are shown
_CURVES = 6  # of a plot over depth
_SHORT = 12  # signs of a heading that stays on one line
_TALL = 15  # lines of a plot
_SIDE_BY_SIDE = 150  # columns of a screen on which both plots stand beside each other


@renderer("table", ".txt", of=SWEEPS)
def write(sweep: Sweep, stream: TextIO, style: Style) -> None:
    """Write a sweep for a screen of `style.columns`.

    Args:
        sweep: any.
        stream: where to.
        style: what the screen can show.
    """
    screen = Screen(style)
    swept = "; ".join(f"{display_name(axis.name)} ({len(axis.values)} values)" for axis in sweep.axes)
    facts = [("model", plain(sweep.model)), ("swept", swept)]
    facts += [("inputs", inputs_line(dict(sweep.inputs)))] if sweep.inputs else []
    facts += [("loss", plain(sweep.loss_told))] if sweep.loss_told else []
    screen.pairs(facts)
    screen.line()
    _points(screen, sweep)
    if sweep.ranking:
        screen.line()
        _ranking(screen, sweep)
    _pictures(screen, sweep)
    screen.line()
    if failed := failures(sweep):
        screen.pairs(failed)
        screen.line()
    screen.line(plain(sentence(sweep)), "bold")
    if told := guarantees(sweep):
        texts = [
            (label, plain(text) if screen.style.unicode else spell(plain(text).replace("·", "*")))
            for label, text in told
        ]
        screen.pairs(texts, label="dim")
    notes = [note for note in sweep.notes if note.text not in style.announced]
    if notes:
        screen.line()
        screen.pairs([("note", f"{plain(note.text)} [{plain(note.code)}]") for note in notes])
    stream.write(screen.text())


def _points(screen: Screen, sweep: Sweep) -> None:
    """A line a point, with as many measures as there is room for."""
    measures = first_measures(sweep, 13)
    while True:
        found = lines(sweep, measures)
        if screen.style.every or not measures or _width(found.headings, found.rows) <= screen.width:
            break
        measures = measures[:-1]
    rows = list(found.rows)
    if len(rows) > MOST_LINES and not screen.style.every:
        rows = [rows[round(i * (len(rows) - 1) / (MOST_LINES - 1))] for i in range(MOST_LINES)]
    _grid(screen, found.headings, rows, {"verdict", "rule"})
    if len(rows) < len(found.rows):
        screen.line(f"{len(rows)} of {len(found.rows)} points; --verbose shows all", "dim")
    screen.line("each measure at the last layer of its stack", "dim")


def _heading(label: str) -> str:
    """A heading in lines, the names of measures shortened."""
    return label if len(label) <= _SHORT else Column(label, label, ()).heading


def _width(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """The columns that a table takes."""
    heads = [max(map(len, _heading(heading).splitlines())) for heading in headings]
    return sum(max(head, *(len(row[i]) for row in rows)) + 2 for i, head in enumerate(heads))


def _grid(screen: Screen, headings: Sequence[str], rows: Sequence[Sequence[str]], words: set[str]) -> None:
    """A table whose headings end above their columns."""
    texts = [_heading(heading) for heading in headings]
    height = max(text.count("\n") for text in texts)
    padded = ["\n" * (height - text.count("\n")) + text for text in texts]
    sides = ["left" if heading in words else "right" for heading in headings]
    grid = screen.grid(list(zip(padded, sides, strict=True)))
    for row in rows:
        grid.add_row(*map(Text, row))
    screen.console.print(grid)


def _ranking(screen: Screen, sweep: Sweep) -> None:
    """Which layer matters most."""
    measures = [name for name in first_measures(sweep, 6) if any(name in effect.changes for effect in sweep.ranking)]
    loss = any(effect.loss_change is not None for effect in sweep.ranking)
    sign = "Δ" if screen.style.unicode else "delta"
    shown = sweep.ranking if screen.style.every else sweep.ranking[:MOST_LINES]

    def table(names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        heads = ["rank", "layer", *([f"{sign} loss"] if loss else []), *(f"{sign} {name}" for name in names)]
        rows = [
            [
                str(effect.rank),
                label_of(effect.values),
                *([_signed(effect.loss_change)] if loss else []),
                *(_signed(effect.changes.get(name)) for name in names),
            ]
            for effect in shown
        ]
        return heads, rows

    while measures and _width(*table(measures)) > screen.width:
        measures = measures[:-1]
    _grid(screen, *table(measures), {"layer"})
    screen.line("changes against the model as it is, the largest first", "dim")


def _signed(value: float | None) -> str:
    return "—" if value is None else ("+" if value > 0 else "") + numbers([value])[0]


def _pictures(screen: Screen, sweep: Sweep) -> None:
    """The first measure over depth for several points, and its end against what is swept."""
    measure = next(iter(first_measures(sweep, 1)), None)
    if measure is None:
        return
    wide = screen.width >= _SIDE_BY_SIDE
    room = min(screen.width // 2 - 2 if wide else screen.width, 110)
    pictures = [_over_depth(screen, sweep, measure, room), _against(screen, sweep, measure, room)]
    there = [picture for picture in pictures if picture]
    if wide and len(there) == 2:
        height = max(map(len, there))
        columns = [[*lines, *[""] * (height - len(lines))] for lines in there]
        screen.line()
        for left, right in zip(*columns, strict=True):
            screen.line(f"{left.ljust(room)}    {right}".rstrip())
        return
    for picture in there:
        screen.line()
        for line in picture:
            screen.line(line)


def _over_depth(screen: Screen, sweep: Sweep, measure: str, width: int) -> list[str]:
    """The measure over the layers, a curve a point."""
    points = chosen(sweep, min(_CURVES, MOST), measure)
    curves = [rows_of(point, measure) for point in points]
    axes = depth_axes(curves, 0.0, 1.0 if measure.startswith("mu_bar") else 0.0)
    if axes is None:
        return []
    series = [
        Series(point.label, tuple(float(k) for k, _ in curve), tuple(number(row) for _, row in curve))
        for point, curve in zip(points, curves, strict=True)
    ]
    some = of_how_many(sweep, points)
    title = f"{measure} over depth" + (" (log scale)" if axes[1].log else "") + (f", {some}" if some else "")
    unicode = screen.style.unicode
    return [title, *plot(series, axes, (width, _TALL), "layer k", unicode), *_legend(series, width, unicode)]


def _against(screen: Screen, sweep: Sweep, measure: str, width: int) -> list[str]:
    """The measure at the last layer against the number that is swept."""
    column = swept_number(sweep)
    if column is None:
        return []
    series = []
    for name, points in along(sweep, column, measure)[:MOST]:
        ys = tuple(number(last_row(point, measure)) for _, point in points)
        series.append(Series(name, tuple(x for x, _ in points), ys))
    xs = [x for curve in series for x in curve.x]
    ys_known = [y for curve in series for y in curve.y if y is not None]
    if not ys_known or min(xs) == max(xs):
        return []
    axes = (Axis(min(xs), max(xs)), y_axis(ys_known, 0.0, 1.0 if measure.startswith("mu_bar") else 0.0))
    title = f"{measure} at the last layer against {display_name(column)}" + (" (log scale)" if axes[1].log else "")
    unicode = screen.style.unicode
    legend = _legend(series, width, unicode) if len(series) > 1 else []
    return [title, *plot(series, axes, (width, _TALL), display_name(column), unicode), *legend]


def _legend(series: Sequence[Series], width: int, unicode: bool) -> list[str]:
    """Which sign is which, in lines no wider than the plot."""
    marks = MARKS if unicode else ASCII_MARKS
    found = [""]
    for mark, curve in zip(marks, series, strict=False):
        text = f"{mark} {curve.name}"[: max(width - 2, 8)]
        if found[-1] and len(found[-1]) + len(text) + 3 > width:
            found.append("")
        found[-1] += ("   " if found[-1] else "  ") + text
    return found
