"""Heat maps of the page: layer by measure, on a scale of the measure's own that all models share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.records import display_name
from rankscope.renderers._axis import Axis
from rankscope.renderers._page.model import Heat
from rankscope.renderers._page.reading import short
from rankscope.renderers._svg import sample, strip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from rankscope.renderers._page.reading import Curve, Measured, Strand

_LEVELS = 9
_LEAST_RATIO = 10.0  # numbers that differ by less stay near one colour: a scale must not make much of little


def heat_maps(strands: Sequence[Strand], measured: Sequence[Measured], titled: bool) -> list[Heat]:
    """One heat map a strand.

    Args:
        strands: the strands.
        measured: the measures to show.
        titled: whether every cell tells its number.

    Returns:
        The heat maps; none where there is no number.
    """
    scales = {each.label: _scale(each) for each in measured}
    found = []
    for strand in strands:
        pairs = [(each, curve) for each in measured for curve in each.curves if curve.strand is strand]
        lines = [_line(each, curve, scales[each.label], titled) for each, curve in pairs if any(_known(curve))]
        if lines:
            index = strand.table.index
            found.append(Heat(strand.name, sample(strand.style), f"k = {index[0]} … {index[-1]}", tuple(lines)))
    return found


def _known(curve: Curve) -> list[bool]:
    return [value is not None for value in curve.values]


def _scale(measured: Measured) -> Axis:
    """The ends of the colours: bounds and the Gaussian reference where there are, else the least and largest number."""
    values = measured.values
    low, high = measured.low, measured.high
    if low is not None and high is not None:
        return Axis(low, high)
    references = [row.reference for curve in measured.curves for row in curve.rows if row and row.reference]
    if references and low is not None:
        return Axis(low, max(references), low > 0)  # of ranks: two directions for one are as much as forty for twenty
    low, high = min(values) if low is None or low <= 0 else low, max(values)
    if low <= 0:
        return Axis(low, high)
    return Axis(low, max(high, low * _LEAST_RATIO), True)


def _line(measured: Measured, curve: Curve, scale: Axis, titled: bool) -> tuple[str, Markup, str, str]:
    """The strip of one measure, with its ends."""
    levels = [None if value is None else _level(scale.at(value), measured.healthy) for value in curve.values]
    table = curve.strand.table
    titles = [
        f"{short(display_name(name))} (k = {k}): {text if row is not None else 'not measured'}"
        for k, name, row, (text, _) in zip(table.index, table.names, curve.rows, curve.texts, strict=True)
    ]
    known = [text for text, there in zip((text for text, _ in curve.texts), _known(curve), strict=True) if there]
    label = f"{measured.label}: from {known[0]} to {known[-1]}"
    return measured.label, strip(levels, titles if titled else [], label), known[0], known[-1]


def _level(share: float, healthy: str | None) -> str:
    """The class of a cell: 0 is pale, 8 stands out, which is the collapsed end, or the high one where there is none."""
    out = 1.0 - share if healthy == "high" else share
    return f"{'h' if healthy else 'n'}{min(int(out * _LEVELS), _LEVELS - 1)}"
