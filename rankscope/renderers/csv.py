"""CSV: the long table, one line a row with its key as columns; `--wide` gives a column a measure.

Numbers are written so that they read back to the same float. Every text is quoted. A spreadsheet takes a cell that
begins with ``=``, ``+``, ``-`` or ``@`` for a formula, also a quoted one, so such a text gets an apostrophe in front;
control characters become U+FFFD. The JSON report keeps the names as they are.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import Style, renderer
from rankscope.renderers._rows import COLUMNS, FRONT, cell, front, lines
from rankscope.table import tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rankscope.records import Report


@renderer("csv", ".csv", rows=True)
def write(reports: Sequence[Report], stream: TextIO, style: Style) -> None:
    """Write the rows; those of several reports follow each other, with the model of each and when it was made in front.

    Args:
        reports: any reports; `samples` are left out.
        stream: where to.
        style: with `wide` a line is a layer, and a measure is a column.
    """
    out = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    lines = _wide(reports) if style.wide else _long(reports)
    skip = 0 if len(reports) > 1 else len(FRONT)
    out.writerows([cell(value) for value in line[skip:]] for line in lines)


def _long(reports: Sequence[Report]) -> Iterator[list[object]]:
    """The heading, then every row."""
    yield list(COLUMNS)
    for line in lines(reports):
        yield [line[name] for name in COLUMNS]


def _wide(reports: Sequence[Report]) -> Iterator[list[object]]:
    """The heading, then every layer; all stacks share the columns, in the order of first appearance."""
    found = [(front(report), table) for report in reports for table in tables(report)]
    labels = list(dict.fromkeys(column.label for _, table in found for column in table.columns))
    yield [*FRONT, "stack", "layer_index", "layer", *labels]
    for before, table in found:
        values = {column.label: column.values for column in table.columns}
        for i, (k, name) in enumerate(zip(table.index, table.names, strict=True)):
            numbers = (values[label][i] if label in values else None for label in labels)
            yield [*before.values(), table.stack, k, name, *numbers]
