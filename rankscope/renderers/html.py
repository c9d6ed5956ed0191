"""HTML: the page that people look at. One file without network: verdict, charts, heat map, table, where it is from.

Reports, a comparison, a sweep and the findings of a check (`findings/html.py`) have the same page; `_page` turns each
into what it shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import COMPARISONS, SWEEPS, Style, renderer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.comparison.records import Comparison
    from rankscope.records import Report
    from rankscope.sweeps import Sweep


@renderer("html", ".html", ".htm")
def write(reports: Sequence[Report], stream: TextIO, _: Style) -> None:
    """Write one page for all reports, side by side.

    Args:
        reports: any reports.
        stream: where to.
        _: not asked: a browser can show everything.
    """
    from rankscope.renderers._page.build import page_of
    from rankscope.renderers._page.template import render

    stream.write(render(page_of(reports)))


@renderer("html", ".html", ".htm", of=COMPARISONS)
def write_comparison(comparison: Comparison, stream: TextIO, _: Style) -> None:
    """Write the page of a comparison.

    Args:
        comparison: any comparison.
        stream: where to.
        _: not asked.
    """
    from rankscope.renderers._page.compared import page_of_comparison
    from rankscope.renderers._page.template import render

    stream.write(render(page_of_comparison(comparison)))


@renderer("html", ".html", ".htm", of=SWEEPS)
def write_sweep(sweep: Sweep, stream: TextIO, _: Style) -> None:
    """Write the page of a sweep.

    Args:
        sweep: any sweep.
        stream: where to.
        _: not asked.
    """
    from rankscope.renderers._page.swept import page_of_sweep
    from rankscope.renderers._page.template import render

    stream.write(render(page_of_sweep(sweep)))
