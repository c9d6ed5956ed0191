"""CSV of a comparison: the long table, a line for each measure at each layer of each pair.

A layer that stands beside none has a line too, of the outcome ``unmatched``. Texts are made safe as in the CSV of a
report.
"""

from __future__ import annotations

import csv
import dataclasses
from typing import TYPE_CHECKING, Any, TextIO

from rankscope.comparison import Difference
from rankscope.renderers import COMPARISONS, Style, renderer
from rankscope.renderers._rows import cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankscope.comparison import Comparison, Pair

FRONT = ("reference_letter", "other_letter", "reference_name", "other_name")
COLUMNS = (*FRONT, *(field.name for field in dataclasses.fields(Difference)))


@renderer("csv", ".csv", of=COMPARISONS)
def write(comparison: Comparison, stream: TextIO, _: Style) -> None:
    """Write every difference of a comparison.

    Args:
        comparison: any.
        stream: where to.
        _: not asked.
    """
    out = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    out.writerow(COLUMNS)
    names = {subject.letter: subject.name for subject in comparison.subjects}
    for pair in comparison.pairs:
        letters = (pair.reference, pair.other)
        front = dict(zip(FRONT, (*letters, *(names[letter] for letter in letters)), strict=True))
        out.writerows([cell((front | line).get(name)) for name in COLUMNS] for line in _lines(pair))


def _lines(pair: Pair) -> Iterator[dict[str, Any]]:
    """The differences, then the layers that stand alone."""
    for entry in pair.differences:
        yield {name: getattr(entry, name) for name in COLUMNS if name not in FRONT}
    for layer in pair.unmatched_reference:
        yield {"stack": layer.stack, "layer_index": layer.index, "layer": layer.name, "outcome": "unmatched"}
    for layer in pair.unmatched_other:
        found = {"other_stack": layer.stack, "other_index": layer.index, "other_layer": layer.name}
        yield {**found, "outcome": "unmatched"}
