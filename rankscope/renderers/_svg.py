"""SVG: lines over depth and strips of colour, drawn as text without a plotting library; the page's CSS has the colours.

Lines are told apart by colour, dash and marker together: the class is ``s0`` … ``s7``, its marker ``m0`` … ``m5``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rankscope.renderers._axis import Axis

STYLES, MARKERS = 8, 6
_WIDTH, _HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 14, 36
_SEEN = 40  # markers of one line
_X0, _X1, _Y0, _Y1 = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, _TOP


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: an x and a y a point, None where there is no number.

    `band` holds the least and largest y beside each point, `hollow` the points whose number is only a bound, `lost`
    those where a number was asked for and there is none.
    """

    name: str
    style: int
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    band: tuple[tuple[float, float] | None, ...] = ()
    hollow: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Guide:
    """A line to read the curves against: of `kind` ``ceiling``, ``reference``, ``floor`` or ``limit``."""

    kind: str
    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over one axis; `label` says all of it in words, for whoever does not see it.

    `told` holds what a pointer is told that rests above an x: the numbers of all curves there. `whole` is a chart with
    markers and every number of its axes; else it is small and holds lines alone.
    """

    label: str
    across: str
    up: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    guides: tuple[Guide, ...] = ()
    told: tuple[tuple[float, str], ...] = ()
    whole: bool = True


def draw(chart: Chart) -> Markup:
    """A chart as an ``<svg>`` that scales with its place.

    Args:
        chart: what to draw.

    Returns:
        The element; every text is escaped.

    Example:
        >>> from rankscope.renderers._axis import Axis
        >>> line = Line("net", 0, (0, 1), (1.0, 0.5))
        >>> draw(Chart("falls", "layer", "", Axis(0, 1), Axis(0, 1), (line,)))[:31]
        Markup('<svg class="chart" viewBox="0 0')
    """
    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(chart.label)}">']
    parts += [_axes(chart)]
    rules, labels = _guides(chart)
    parts += rules
    parts += [_band(chart, line) for line in chart.lines if line.band]
    parts += [_curve(chart, line) for line in chart.lines]
    parts += [_points(chart, line) for line in chart.lines if chart.whole]
    parts += [*labels, _told(chart)]
    return Markup("".join(parts) + "</svg>")  # noqa: S704 - every text in it went through escape


def strip(levels: Sequence[str | None], titles: Sequence[str], label: str) -> Markup:
    """A row of cells of colour, one a layer.

    Args:
        levels: the class of each cell; None leaves a hole.
        titles: what a pointer that rests on a cell is told; empty to leave that out and draw equal neighbours as one.
        label: all of it in words.

    Returns:
        The element; every text is escaped.
    """
    cells = []
    if titles:
        for i, (level, title) in enumerate(zip(levels, titles, strict=True)):
            cells.append(f"<rect x={i} class={level or 'x'}><title>{escape(title)}</title></rect>")
    else:
        start = 0
        for level, group in groupby(levels):
            size = len(list(group))
            if level is not None:
                cells.append(f"<path class={level} d=M{start},0h{size}v1h-{size}z />")
            start += size
    head = f'<svg class="strip" viewBox="0 0 {len(levels)} 1" preserveAspectRatio="none" role="img" '
    return Markup(f'{head}aria-label="{escape(label)}">{"".join(cells)}</svg>')  # noqa: S704 - escaped above


def sample(style: int) -> Markup:
    """A short piece of a curve with its marker, for the legend.

    Args:
        style: the number of the line.

    Returns:
        The element.
    """
    return Markup(  # noqa: S704 - no text in it
        f'<svg class="key" viewBox="0 0 44 14" aria-hidden="true"><path class="line {_class(style)}" d="M2,7h40"/>'
        f'<use class="{_class(style)}" href="#m{style % MARKERS}" x="22" y="7"/></svg>'
    )


def defs() -> Markup:
    """The markers that every chart of a page refers to; written once, at its top.

    Returns:
        The element, which takes no room.
    """
    shapes = (
        "M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z",
        "M-2.7,-2.7h5.4v5.4h-5.4z",
        "M0,-3.6L3.3,2.4L-3.3,2.4z",
        "M0,-3.8L3.8,0L0,3.8L-3.8,0z",
        "M0,3.6L3.3,-2.4L-3.3,-2.4z",
        "M-3.4,-1.1h2.3v-2.3h2.2v2.3h2.3v2.2h-2.3v2.3h-2.2v-2.3h-2.3z",
    )
    marks = "".join(f'<path id="m{i}" d="{shape}"/>' for i, shape in enumerate(shapes))
    lost = '<path id="mx" d="M-3,-3L3,3M-3,3L3,-3"/>'
    return Markup(f'<svg class="defs" aria-hidden="true"><defs>{marks}{lost}</defs></svg>')  # noqa: S704 - no text in it


def _class(style: int) -> str:
    return f"s{style % STYLES}"


def _n(value: float) -> str:
    """A coordinate, no finer than a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def _x(chart: Chart, value: float) -> float:
    return _X0 + chart.x.at(value) * (_X1 - _X0)


def _y(chart: Chart, value: float) -> float:
    return _Y0 - chart.y.at(value) * (_Y0 - _Y1)


def _axes(chart: Chart) -> str:
    """Rules and numbers of both axes."""
    rules, texts = [], []
    for tick in chart.y.ticks(5 if chart.whole else 3):
        y = _n(_y(chart, tick))
        rules.append(f"M{_X0},{y}H{_X1}")
        texts.append(f'<text x={_X0 - 6} y={y} dy=".35em">{_tick(tick)}</text>')
    for tick in chart.x.ticks(8 if chart.whole else 4):
        x = _n(_x(chart, tick))
        rules.append(f"M{x},{_Y0}v4")
        texts.append(f"<text class=mid x={x} y={_Y0 + 15}>{_tick(tick)}</text>")
    texts.append(f'<text class="mid name" x={(_X0 + _X1) / 2:g} y={_HEIGHT - 4}>{escape(chart.across)}</text>')
    if chart.up:
        texts.append(f'<text class="name from" x=4 y=8>{escape(chart.up)}</text>')
    return f'<g class=axes><path d="{"".join(rules)}"/>{"".join(texts)}</g>'


def _tick(value: float) -> str:
    size = abs(value)
    if size and not 1e-3 <= size < 1e5:
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return f"{value:.6g}"


def _guides(chart: Chart) -> tuple[list[str], list[str]]:
    """Lines of reference, and their labels: each at the right unless another stands there."""
    rules: list[str] = []
    labels: list[str] = []
    taken: list[float] = []
    for guide in chart.guides:
        ys = [_y(chart, value) for value in guide.y]
        bends = [i for i in range(len(ys)) if i in (0, len(ys) - 1) or not ys[i - 1] == ys[i] == ys[i + 1]]
        points = " ".join(f"{_n(_x(chart, guide.x[i]))},{_n(ys[i])}" for i in bends)
        rules.append(f'<polyline class="guide {guide.kind}" points="{points}"/>')
        below = guide.kind == "limit" or ys[-1] < _Y1 + 12
        at = ys[-1] + 11 if below else ys[-1] - 4
        if all(abs(at - other) > 11 for other in taken):
            taken.append(at)
            labels.append(f'<text class="guide" x="{_X1 - 2}" y="{_n(at)}">{escape(guide.label)}</text>')
    return rules, labels


def _runs(line: Line) -> Iterable[list[int]]:
    """The stretches of a line that have numbers."""
    for known, group in groupby(range(len(line.y)), key=lambda i: line.y[i] is not None):
        if known:
            yield list(group)


def _curve(chart: Chart, line: Line) -> str:
    """The line itself; whole pixels and relative steps where no point needs to be hit."""
    paths = []
    for run in _runs(line):
        points = [(_x(chart, line.x[i]), _y(chart, line.y[i] or 0.0)) for i in run]
        if chart.whole:
            paths.append("M" + "L".join(f"{_n(x)},{_n(y)}" for x, y in points))
            continue
        paths.append(_steps([(round(x), round(y)) for x, y in points]))
    return f'<path class="line {_class(line.style)}" d="{"".join(paths)}"/>' if paths else ""


def _steps(points: Sequence[tuple[int, int]]) -> str:
    """A path by relative steps, level stretches in one; a minus sign parts two numbers as well as a comma does."""
    path = f"M{points[0][0]},{points[0][1]}"
    for level, group in groupby(pairwise(points), key=lambda pair: pair[0][1] == pair[1][1]):
        pairs = list(group)
        if level:
            path += f"h{pairs[-1][1][0] - pairs[0][0][0]}"
        else:
            steps = (f"{b[0] - a[0]},{b[1] - a[1]}" for a, b in pairs)
            path += "l" + " ".join(steps).replace(",-", "-").replace(" -", "-")
    return path if len(points) > 1 else f"{path}h0"


def _band(chart: Chart, line: Line) -> str:
    """The area between the least and the largest number beside each point."""
    paths = []
    for run in _runs(line):
        sides = [(line.x[i], *spread) for i in run if (spread := line.band[i]) is not None]
        low = [(round(_x(chart, x)), round(_y(chart, least))) for x, least, _ in sides]
        high = [(round(_x(chart, x)), round(_y(chart, most))) for x, _, most in sides]
        if len(sides) > 1:
            paths.append(_steps(low + high[::-1]) + "z")
    return f'<path class="band {_class(line.style)}" d="{"".join(paths)}"/>' if paths else ""


def _points(chart: Chart, line: Line) -> str:
    """A marker at the numbers, a cross at the foot where one is lost."""
    marker = f"#m{line.style % MARKERS}"
    apart = math.ceil(len(line.x) / _SEEN)  # those between would run together
    parts = []
    for i, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
        if y is None:
            parts.append(f"<use href=#mx class=x x={_n(_x(chart, x))} y={_Y0 - 4} />" if i in line.lost else "")
        elif (i - line.style) % apart == 0 or i in (0, len(line.x) - 1):
            look = " class=o" if i in line.hollow else ""
            parts.append(f"<use href={marker}{look} x={_n(_x(chart, x))} y={_n(_y(chart, y))} />")
    return f"<g class={_class(line.style)}>{''.join(parts)}</g>"


def _told(chart: Chart) -> str:
    """What is told at each x, over the stretch of the chart that is nearest to it."""
    if not chart.told:
        return ""
    at = [_x(chart, x) for x, _ in chart.told]
    edges = [_X0 - 4.0, *((a + b) / 2 for a, b in pairwise(at)), _X1 + 4.0]
    parts = [
        f"<rect x={_n(start)} width={_n(end - start)}><title>{escape(text)}</title></rect>"
        for (start, end), (_, text) in zip(pairwise(edges), chart.told, strict=True)
    ]
    return f"<g class=told>{''.join(parts)}</g>"
