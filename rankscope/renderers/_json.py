"""JSON text of a record, as the screen and the encoding can carry it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankscope.renderers import Style


def as_json(data: dict[str, Any], style: Style) -> str:
    """Data as JSON, a line at its end; names are as the models have them.

    Args:
        data: without numbers that are not finite.
        style: without `unicode` only ASCII is written.

    Returns:
        The text.
    """
    text = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False)
    # A name may hold half of a surrogate pair, which UTF-8 cannot carry; JSON's escapes can.
    if not style.unicode or any("\ud800" <= c <= "\udfff" for c in text):
        text = json.dumps(data, indent=1, allow_nan=False)
    return text + "\n"
