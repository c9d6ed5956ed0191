"""JSON of a comparison, under its published schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import COMPARISONS, Style, renderer
from rankscope.renderers._json import as_json

if TYPE_CHECKING:
    from rankscope.comparison import Comparison


@renderer("json", ".json", of=COMPARISONS)
def write(comparison: Comparison, stream: TextIO, style: Style) -> None:
    """Write a comparison as JSON; names are as the models have them.

    Args:
        comparison: any.
        stream: where to.
        style: without `unicode` only ASCII is written.
    """
    stream.write(as_json(comparison.to_dict(), style))
