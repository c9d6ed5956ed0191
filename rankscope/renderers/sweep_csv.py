"""CSV of a sweep: the long table, the swept columns before those of the rows. A point that failed has one line."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import SWEEPS, Style, renderer
from rankscope.renderers._rows import cell
from rankscope.sweeps.records import LINE

if TYPE_CHECKING:
    from rankscope.sweeps import Sweep


@renderer("csv", ".csv", of=SWEEPS)
def write(sweep: Sweep, stream: TextIO, _: Style) -> None:
    """Write every row of every point.

    Args:
        sweep: any.
        stream: where to.
        _: not asked.
    """
    out = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    out.writerow([cell(name) for name in (*sweep.columns, *LINE)])
    out.writerows([cell(value) for value in line] for line in sweep.lines())
