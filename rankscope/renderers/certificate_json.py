"""JSON of a certificate, under its published schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import CERTIFICATES, Style, renderer

if TYPE_CHECKING:
    from rankscope.certificate import Certificate


@renderer("json", ".json", of=CERTIFICATES)
def write(certificate: Certificate, stream: TextIO, style: Style) -> None:
    """Write a certificate as JSON; names are as the models have them.

    Args:
        certificate: any.
        stream: where to.
        style: without `unicode` only ASCII is written.
    """
    data = certificate.to_dict()
    text = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False)
    # A name may hold half of a surrogate pair, which UTF-8 cannot carry; JSON's escapes can.
    if not style.unicode or any("\ud800" <= c <= "\udfff" for c in text):
        text = json.dumps(data, indent=1, allow_nan=False)
    stream.write(text + "\n")
