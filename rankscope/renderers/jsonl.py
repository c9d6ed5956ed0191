"""JSON Lines: an object a row, with the model and the time of its report, for tools that read a stream of lines.

Rows of several reports follow each other. Each line stands for itself: `model`, `created`, then the fields of a row as
the schema of the report describes them, `samples` among them. Names are as the model has them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import Style, renderer
from rankscope.renderers._rows import lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Report


@renderer("jsonl", ".jsonl", ".ndjson", rows=True)
def write(reports: Sequence[Report], stream: TextIO, _: Style) -> None:
    """Write the rows as JSON Lines.

    Args:
        reports: any reports.
        stream: where to.
        _: not asked; only ASCII is written, so that every tool reads it.
    """
    for line in lines(reports):
        stream.write(json.dumps(line, allow_nan=False, separators=(",", ":")) + "\n")
