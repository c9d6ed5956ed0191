"""JSON: the whole report under its published schema, the only format that is read back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TextIO

from rankscope.errors import UsageError
from rankscope.renderers import Style, renderer

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
    text = report.to_json()
    # A name may hold half of a surrogate pair, which UTF-8 cannot carry; JSON's escapes can.
    if not style.unicode or any("\ud800" <= c <= "\udfff" for c in text):
        text = json.dumps(report.to_dict(), indent=1, allow_nan=False)
    stream.write(text + "\n")
