"""safetensors: the whole report, and the sums of its pools, so that reports of several runs can be merged exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from rankscope.errors import UsageError
from rankscope.renderers import Style, renderer
from rankscope.sums import packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Report, Row, Vector


@renderer("safetensors", ".safetensors", binary=True)
def write(reports: Sequence[Report], stream: BinaryIO, _: Style) -> None:
    """Write the report and its sums.

    Args:
        reports: one report.
        stream: where to.
        _: not asked.

    Raises:
        UsageError: there are several, or the report holds pooled measures without their sums.
    """
    if len(reports) != 1:
        headline = f"safetensors was not written: it holds one report, and there are {len(reports)}"
        raise UsageError("RS608", headline, remedies=[("Make one of them", "rankscope report A B --merge -o FILE")])
    (report,) = reports
    every: list[Row | Vector] = [*report.rows, *report.spectra]
    pooled = [each for each in every if each.scope == "pooled"]
    if not report.sums and any(each.status == "ok" for each in pooled):
        raise UsageError(
            "RS610",
            "safetensors was not written: the report has pooled measures, and the sums behind them were not kept",
            remedies=[
                ("Measure anew, to that format", "rankscope probe MODEL -o report.safetensors"),
                ("In Python", "rankscope.probe(model, inputs, keep_sums=True)"),
                ("Without them", "-o report.json"),
            ],
        )
    stream.write(packed(report.to_dict(), report.sums))
