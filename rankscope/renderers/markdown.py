"""Markdown of a report: for a pull request, a step summary or a lab book."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import Style, renderer
from rankscope.renderers._markup import line as _line
from rankscope.renderers._markup import name as _name
from rankscope.renderers._markup import text as _text
from rankscope.renderers._parts import (
    Footnotes,
    cells,
    coverage,
    facts,
    floor_note,
    learned,
    split,
    verdict,
    what_helps,
)
from rankscope.renderers._screen import plain
from rankscope.table import ends, sparkline, tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Report
    from rankscope.table import Table


@renderer("md", ".md", ".markdown")
def write(reports: Sequence[Report], stream: TextIO, style: Style) -> None:
    """Write reports as GitHub-flavoured Markdown, one section after the other.

    Args:
        reports: any reports.
        stream: where to.
        style: without `unicode` the curves are ASCII.
    """
    stream.write("\n".join(_report(report, style) for report in reports))


def _report(report: Report, style: Style) -> str:
    """One report."""
    lines = ["## rankscope", "", *(f"- **{label}**: {_text(text)}" for label, text in facts(report))]
    for table in tables(report):
        lines += ["", *_stack(report, table, style)]
    lines += ["", f"**layers**: {_text(coverage(report))}"]
    lines += [f"\n**{_text(plain(note.code))}**: {_text(plain(note.text))}" for note in report.notes]
    return "\n".join(lines) + "\n"


def _stack(report: Report, table: Table, style: Style) -> list[str]:
    """One stack: the verdict, a line for each layer, and the curves."""
    notes = Footnotes()
    shown, absent = split(table)
    lines = [f"### {_name(table.stack or 'model')}", ""]
    found = verdict(report, table.stack)
    if found is not None:
        word, text = found
        lines += [f"**{word}**{_text(text[len(word) :])}", ""]
        if helps := what_helps(word):
            lines += [f"what helps: `{helps}`", ""]
    if shown:
        texts = [cells(column, notes) for column in shown]
        lines += [_line(["k", "layer", *(_name(column.label) for column in shown)])]
        lines += [_line(["---:", "---", *("---:" for _ in shown)])]
        for i, (k, name) in enumerate(zip(table.index, table.names, strict=True)):
            numbers = [text + (f" ({mark})" if mark else "") for text, mark in (column[i] for column in texts)]
            lines.append(_line([str(k), _name(name), *numbers]))
        lines += ["", *_curves(table, style)]
    told = [f"({i + 1}) {_text(text)}" for i, text in enumerate(notes.texts)]
    told += [f"≤ {_text(floor_note(report))}"] if notes.floor else []
    told += [f"{label}: {_text(text)}" for label, text in absent]
    told += [f"{_name(label)}: {_text(text)}" for label, text in learned(report, table.stack)]
    return lines + [f"\n{text}" for text in told]


def _curves(table: Table, style: Style) -> list[str]:
    """Each measure over depth."""
    lines = [_line(["over depth", f"k = {table.index[0]} … {table.index[-1]}", "first", "last", "reference"])]
    lines += [_line(["---", "---", "---:", "---:", "---:"])]
    for column in split(table)[0]:
        end = ends(column)
        curve = _text(sparkline(column.values, not style.unicode))
        lines.append(_line([_name(column.label), curve, end.first, end.last, end.reference]))
    return lines
