"""JSON of a certificate, under its published schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import CERTIFICATES, Style, renderer
from rankscope.renderers._json import as_json

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
    stream.write(as_json(certificate.to_dict(), style))
