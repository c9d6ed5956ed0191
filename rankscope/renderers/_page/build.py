"""From reports to the model of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope._version import __version__
from rankscope.renderers._page.charts import over_depth, spectra
from rankscope.renderers._page.data import embedded
from rankscope.renderers._page.grids import full_table, missing
from rankscope.renderers._page.heats import heat_maps
from rankscope.renderers._page.model import Page
from rankscope.renderers._page.reading import names, read, short, telling
from rankscope.renderers._page.words import cards, headline, notes, origin
from rankscope.renderers._parts import Footnotes
from rankscope.renderers._svg import sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Report

_FIGURES, _HEATS = 6, 13  # measures with a chart that is seen at once, and with a line in the heat map
_TITLED_CELLS = 2_500  # a heat map of more cells leaves their numbers to the table: the page stays under a megabyte


def page_of(reports: Sequence[Report], labels: Sequence[str] | None = None) -> Page:
    """The page of one report, or of several side by side.

    Args:
        reports: any reports.
        labels: what the page calls each; what was typed for the model if not given.

    Returns:
        The page.
    """
    reasons = Footnotes()
    labels = names(reports) if labels is None else labels
    strands, measured = read(reports, labels, reasons)
    first, strips = telling(measured, _FIGURES), telling(measured, _HEATS)
    cells = sum(len(curve.values) for each in strips for curve in each.curves)
    verdicts = cards(strands)
    line = headline(verdicts)
    told = ", ".join(short(label) for label in labels[:3]) or "no report"
    return Page(
        title=f"{line} · rankscope" if len(line) <= 80 else f"{told} · rankscope",
        headline=line,
        lead="",
        cards=tuple(verdicts),
        legend=tuple((sample(strand.style), strand.name) for strand in strands if len(strands) > 1),
        figures=tuple(over_depth(each) for each in first),
        more=tuple(over_depth(each, whole=False) for each in measured if each.values and each not in first),
        heats=tuple(heat_maps(strands, strips, cells <= _TITLED_CELLS)),
        spectra=tuple(spectra(reports, labels)),
        grid=full_table(strands, measured, len(strips) or len(measured), reasons),
        missing=missing(strands, measured, reasons),
        notes=tuple(notes(reports, labels)),
        origin=tuple(origin(reports, labels)),
        made=f"rankscope {__version__}",
        data=embedded(reports, strands, measured),
    )
