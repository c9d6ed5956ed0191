"""HTML: the page of a check, which is that of its report with the requirements beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import FINDINGS, Style, renderer

if TYPE_CHECKING:
    from rankscope.requirements import Findings


@renderer("html", ".html", ".htm", of=FINDINGS)
def write(findings: Findings, stream: TextIO, _: Style) -> None:
    """Write the page of a check.

    Args:
        findings: what it found.
        stream: where to.
        _: not asked: a browser can show everything.
    """
    from rankscope.renderers._page.judged import page_of_findings
    from rankscope.renderers._page.template import render

    stream.write(render(page_of_findings(findings)))
