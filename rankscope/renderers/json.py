"""JSON: the whole report under its published schema, the only format that is read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.errors import UsageError
from rankscope.renderers import Style, renderer
from rankscope.renderers._json import as_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Report


@renderer("json", ".json")
def write(reports: Sequence[Report], stream: TextIO, style: Style) -> None:
    """Write the report as JSON; names are as the model has them.

    Args:
        reports: one report.
        stream: where to.
        style: without `unicode` only ASCII is written.

    Raises:
        UsageError: there are several.
    """
    if len(reports) != 1:
        headline = f"json was not written: it holds one report, and there are {len(reports)}"
        raise UsageError(
            "RS608", headline, remedies=[("The rows of all, one a line", "--format jsonl, or -o FILE.jsonl")]
        )
    (report,) = reports
    stream.write(as_json(report.to_dict(), style))
