"""CSV of a certificate: the long table, a line for each sequence and block, the worst sequence of a stack first."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, TextIO

from rankscope.certificate.records import COLUMNS
from rankscope.renderers import CERTIFICATES, Style, renderer
from rankscope.renderers._rows import cell

if TYPE_CHECKING:
    from rankscope.certificate import Certificate


@renderer("csv", ".csv", of=CERTIFICATES)
def write(certificate: Certificate, stream: TextIO, _: Style) -> None:
    """Write every step of a certificate.

    Args:
        certificate: any.
        stream: where to.
        _: not asked.
    """
    out = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    out.writerow(("model", *COLUMNS))
    model = cell(certificate.model.get("spec"))
    out.writerows([model, *(cell(line[name]) for name in COLUMNS)] for line in certificate.lines())
