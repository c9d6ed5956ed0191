"""JSON: every finding, as the published schema `rankscope.check/1` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import FINDINGS, Style, renderer

if TYPE_CHECKING:
    from rankscope.requirements import Findings


@renderer("json", ".json", of=FINDINGS)
def write(findings: Findings, stream: TextIO, style: Style) -> None:  # noqa: ARG001 - always ASCII
    """Write findings as JSON; names are as the model has them.

    Args:
        findings: of a check.
        stream: where to.
        style: not used.
    """
    stream.write(findings.to_json() + "\n")
