"""JSON of a sweep, under its published schema; every point holds its report, under the schema of reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import SWEEPS, Style, renderer

if TYPE_CHECKING:
    from rankscope.sweeps import Sweep


@renderer("json", ".json", of=SWEEPS)
def write(sweep: Sweep, stream: TextIO, _: Style) -> None:
    """Write a sweep as JSON; names are as the models have them.

    Args:
        sweep: any.
        stream: where to.
        _: not asked: only ASCII is written.
    """
    stream.write(sweep.to_json() + "\n")
