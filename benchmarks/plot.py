"""Plot: the growth curves as one SVG file, drawn by the charts of the package; no plotting library."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from rankscope.renderers._axis import Axis
from rankscope.renderers._svg import Chart, Line, draw

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT, HEAD = 440, 250, 30
LEAST = 0.01  # ms; extra times below it, or none at all, are drawn there
NAMES = {"forward": "rankscope, preset forward", "naive": "naive hook"}
ACROSS = {
    "tokens": "tokens of a sequence",
    "width": "width",
    "depth": "blocks",
    "batches": "batches",
}
STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; color: #222 }
text { fill: #222 } .mid { text-anchor: middle } .axes text:not(.mid):not(.from) { text-anchor: end }
.axes path { stroke: #ccc; fill: none } .line { fill: none; stroke-width: 2 }
.s0 { stroke: #0b6e99 } .s1 { stroke: #c2410c; stroke-dasharray: 6 3 }
"""


def plot(growth: dict[str, Any]) -> str:
    """Extra time over the plain forward against each size, both on logarithmic axes.

    Args:
        growth: as a run gives it.

    Returns:
        A whole SVG file.
    """
    panels = [_panel(name, points) for name, points in growth["axes"].items()]
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    width, height = WIDTH * columns, HEIGHT * rows + HEAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"><style>{STYLE}</style>'
    ]
    for style, name in enumerate(NAMES.values()):
        x = 54 + 220 * style
        parts.append(f'<path class="line s{style}" d="M{x},16h36"/><text x="{x + 44}" y="20">{name}</text>')
    for index, panel in enumerate(panels):
        x, y = WIDTH * (index % columns), HEAD + HEIGHT * (index // columns)
        place = f'<svg x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}"'
        parts.append(re.sub(r'^<svg class="chart"', place, panel))
    return "".join(parts) + "</svg>\n"


def _panel(name: str, points: Sequence[dict[str, Any]]) -> str:
    at = tuple(float(point["at"]) for point in points)
    curves = [tuple(max((point[who] or 0.0) * 1e3, LEAST) for point in points) for who in NAMES]
    lines = tuple(Line(who, style, at, curve) for style, (who, curve) in enumerate(zip(NAMES, curves, strict=True)))
    every = [value for curve in curves for value in curve]
    across, up = Axis(at[0], at[-1], log=True), Axis(10 ** _below(min(every)), 10 ** (_below(max(every)) + 1), log=True)
    label = f"extra milliseconds against {ACROSS[name]}"
    chart = str(draw(Chart(label, ACROSS[name], "extra ms", across, up, lines)))
    return re.sub(r' ([a-z-]+)=([^\s">]+)(?=[ >])', r' \1="\2"', chart)  # a page may leave the quotes out, XML may not


def _below(value: float) -> int:
    """The power of ten at or below a value."""
    return math.floor(math.log10(value))
