"""Notebook: what `_repr_html_` of a report or comparison shows. Plain HTML without scripts; every text is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rankscope.records import display_name
from rankscope.renderers._comparison import alone, legend, sides
from rankscope.renderers._comparison import facts as compared
from rankscope.renderers._comparison_cells import Marks, texts
from rankscope.renderers._comparison_end import ends, headings
from rankscope.renderers._parts import Footnotes, cells, coverage, facts, floor_note, split, verdict
from rankscope.renderers._screen import plain
from rankscope.table import sparkline, tables

if TYPE_CHECKING:
    from rankscope.comparison import Comparison
    from rankscope.records import Report
    from rankscope.table import Table

_COLORS = {"healthy": "#1a7f37", "thinning": "#9a6700", "collapsed": "#cf222e", "undefined": "#8250df"}


def render_html(report: Report) -> str:
    """The tables of a report as an HTML fragment.

    Args:
        report: any report.

    Returns:
        One ``<div>``; names and reasons are escaped.

    Example:
        >>> from rankscope.records import Report
        >>> print(render_html(Report(model={"spec": "<i>"}, rows=())).splitlines()[1])
        <p style='margin:0'><b>model</b> &lt;i&gt;</p>
    """
    parts = [_paragraph(label, text) for label, text in facts(report)]
    for table in tables(report):
        parts += _stack(report, table)
    parts += [_paragraph("layers", coverage(report))]
    parts += [_paragraph(plain(note.code), plain(note.text)) for note in report.notes]
    return "<div class='rankscope'>\n" + "\n".join(parts) + "\n</div>"


def render_comparison(comparison: Comparison) -> str:
    """The sentence, the models and the tables of a comparison as an HTML fragment.

    Args:
        comparison: any.

    Returns:
        One ``<div>``; names and reasons are escaped.
    """
    marks = Marks()
    parts = [f"<p><b>{escape(plain(line))}</b></p>" for line in comparison.sentence.splitlines()]
    parts += [_paragraph(letter, text) for letter, text in compared(comparison)]
    for pair in comparison.pairs:
        lines = [_row(["", "measure", *headings(pair)], "th")]
        lines += [_row(["", end.label, *end.texts]) for end in ends(comparison, pair, marks)]
        parts.append("<table>\n" + "\n".join(lines) + "\n</table>")
    for side in sides(comparison):
        parts.append(f"<h4>{escape(display_name(side.stack or 'model'))}</h4>")
        letters = [subject.letter for subject in comparison.subjects]
        heads = [f"{column.label} {letter}" for column in side.columns for letter in letters]
        found = [of_one for column in side.columns for of_one in texts(column, range(len(side.lines)), marks)]
        lines = [_row(["k", "layer", *heads], "th")]
        for i, line in enumerate(side.lines):
            lines.append(_row([str(line.index), display_name(line.name), *(of_one[i] for of_one in found)]))
        parts.append("<table>\n" + "\n".join(lines) + "\n</table>")
    told = [*legend(comparison), *marks.legend(), *alone(comparison)]
    parts += [_paragraph(mark, text) for mark, text in told]
    parts += [_paragraph(plain(note.code), plain(note.text)) for note in comparison.notes]
    return "<div class='rankscope'>\n" + "\n".join(parts) + "\n</div>"


def _paragraph(label: str, text: str) -> str:
    return f"<p style='margin:0'><b>{escape(label)}</b> {escape(text)}</p>"


def _row(values: list[str], tag: str = "td") -> str:
    """A line of the table; the second cell, a name, is set to the left."""
    align = ["left" if i == 1 else "right" for i in range(len(values))]
    inner = (f"<{tag} style='text-align:{a}'>{escape(v)}</{tag}>" for a, v in zip(align, values, strict=True))
    return f"<tr>{''.join(inner)}</tr>"


def _stack(report: Report, table: Table) -> list[str]:
    """One stack: the verdict, the layers, and a last line with the curves."""
    notes = Footnotes()
    shown, absent = split(table)
    parts = [f"<h4>{escape(display_name(table.stack or 'model'))}</h4>"]
    found = verdict(report, table.stack)
    if found is not None:
        word, text = found
        parts.append(f"<p><b style='color:{_COLORS[word]}'>{word}</b>{escape(text[len(word) :])}</p>")
    if shown:
        texts = [cells(column, notes) for column in shown]
        lines = [_row(["k", "layer", *(column.label for column in shown)], "th")]
        for i, (k, name) in enumerate(zip(table.index, table.names, strict=True)):
            numbers = [text + (f" ({mark})" if mark else "") for text, mark in (column[i] for column in texts)]
            lines.append(_row([str(k), display_name(name), *numbers]))
        lines.append(_row(["", "over depth", *(sparkline(column.values, width=24) for column in shown)]))
        parts.append("<table>\n" + "\n".join(lines) + "\n</table>")
    parts += [_paragraph(f"({i + 1})", text) for i, text in enumerate(notes.texts)]
    parts += [_paragraph("≤", floor_note(report))] if notes.floor else []
    return parts + [_paragraph(label, text) for label, text in absent]
