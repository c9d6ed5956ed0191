"""The page of a sweep: each measure over depth for several points, and at its end against what is swept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankscope._version import __version__
from rankscope.explanations import measure_names
from rankscope.plain import finite
from rankscope.records import display_name
from rankscope.renderers._axis import Axis
from rankscope.renderers._page.model import Card, Figure, Listing, Page, Section
from rankscope.renderers._page.words import notes, origin
from rankscope.renderers._screen import plain
from rankscope.renderers._svg import STYLES, Chart, Line, draw, sample
from rankscope.renderers._sweep import (
    along,
    chosen,
    everyone,
    failures,
    first_measures,
    lines,
    of_how_many,
    swept_number,
    y_axis,
)
from rankscope.sweeps.axes import label as label_of
from rankscope.sweeps.axes import over_layers
from rankscope.sweeps.curves import last_row, rows_of
from rankscope.sweeps.digits import brief_edit
from rankscope.sweeps.until import LOSS_LIMIT
from rankscope.sweeps.words import guarantees, sentence, verdict_of
from rankscope.table import number, numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Row
    from rankscope.sweeps import Point, Sweep

_FIGURES, _MOST = 2, 14  # measures with a chart that is seen at once, and with one at all
_CURVES = STYLES  # over depth
_LINES = 400  # of a table; the CSV and the JSON have all
_COLUMNS = 8


def page_of_sweep(sweep: Sweep) -> Page:
    """The page of a sweep.

    Args:
        sweep: any sweep.

    Returns:
        The page.
    """
    told = plain(sentence(sweep))
    head, _, rest = told.partition(". ")
    swept = ", ".join(display_name(axis.name) for axis in sweep.axes)
    first = [(point.label, point.report) for point in everyone(sweep) if point.report is not None][:1]
    reports, names = [report for _, report in first], [name for name, _ in first]
    own = [(plain(note.code), plain(note.text), "") for note in sweep.notes]
    return Page(
        title=f"{plain(sweep.model)} over {swept} · rankscope",
        headline=f"{plain(sweep.model)} over {swept}",
        lead=f"{head}.\n{rest}".strip() if rest else told,
        cards=tuple(_cards(sweep)),
        sections=tuple(section for section in (_against(sweep), _over_depth(sweep)) if section.figures),
        listings=tuple(_listings(sweep)),
        notes=(*own, *notes(reports, names)),
        origin=tuple(origin(reports, names)),
        made=f"rankscope {__version__}",
        data=_data(sweep),
    )


def _cards(sweep: Sweep) -> list[Card]:
    """The model as it is, and what the search found."""
    found = []
    if sweep.reference is not None and sweep.reference.report is not None:
        word = verdict_of(sweep.reference.report).partition(",")[0] or "undefined"
        facts = [("loss", numbers([sweep.reference.loss])[0])] if sweep.reference.loss is not None else []
        facts += [("how", plain(sweep.loss_told))] if sweep.loss_told else []
        text = "The model without what is swept; every point is measured on the same inputs."
        found.append(Card(word, "as it is", text, tuple(facts)))
    if sweep.until is not None:
        until = sweep.until
        word = "ok" if until.reference_keeps == "ok" or until.edit is not None else "failed"
        facts = [("rule", plain(until.rule)), ("edit", plain(brief_edit(until.edit or "none")))]
        if until.loss_change is not None:
            facts.append(("change of the loss", f"{100 * until.loss_change:+.0f} %"))
            word = word if until.loss_change <= LOSS_LIMIT else "costly"
        facts += [(label, plain(text)) for label, text in guarantees(sweep)]
        found.append(Card(word, "the smallest edit that keeps the rule", plain(until.sentence), tuple(facts)))
    return found


def _over_depth(sweep: Sweep) -> Section:
    """Each measure over the layers, a curve a point."""
    measures = first_measures(sweep, _MOST)
    points = chosen(sweep, _CURVES, next(iter(measures), ""))
    figures = [figure for label in measures if (figure := _depth_figure(points, label))]
    lede = (
        "Each measure from the input of the first block, k = 0, to the output of the last: the mean over sequences, "
        "and shaded one standard deviation to either side."
    )
    some = of_how_many(sweep, points)
    lede += f" {some}: both ends, the least and the most {measures[0]}, and some between." if some else ""
    return Section("Over depth", lede, tuple(figures[:_FIGURES]), tuple(figures[_FIGURES:]))


def _depth_figure(points: Sequence[Point], label: str) -> Figure | None:
    """The chart of one measure over depth; None where it has no number."""
    curves = [rows_of(point, label) for point in points]
    named = list(zip([point.label for point in points], curves, strict=True))
    drawn = [_line(name, style, [(float(k), row) for k, row in rows]) for style, (name, rows) in enumerate(named)]
    xs = [x for line in drawn for x in line.x]
    return _figure(
        f"{label} over depth", label, drawn, "layer k", Axis(min(xs), max(max(xs), 1.0), whole=True) if xs else None
    )


def _against(sweep: Sweep) -> Section:
    """Each measure at the last layer, and the loss, against the number that is swept."""
    column = swept_number(sweep)
    title = f"Against {display_name(column)}" if column else ""
    lede = "Each measure at the last layer, with one standard deviation over sequences to either side."
    if column is None:
        return Section(title, lede, ())
    figures = [_value_figure(sweep, column, label) for label in first_measures(sweep, _MOST)]
    known = [figure for figure in figures if figure is not None]
    loss = _loss_figure(sweep, column)
    shown = [*known[:_FIGURES], *([loss] if loss else [])]
    return Section(title, lede, tuple(shown), tuple(known[_FIGURES:]))


def _value_figure(sweep: Sweep, column: str, label: str) -> Figure | None:
    """A measure at the last layer against the number that is swept."""
    drawn = []
    for style, (name, points) in enumerate(along(sweep, column, label)[:_CURVES]):
        rows = [(x, row) for x, point in points if (row := last_row(point, label)) is not None]
        drawn.append(_line(name, style, rows))
    xs = [x for line in drawn for x in line.x]
    axis = Axis(min(xs), max(xs)) if xs and min(xs) < max(xs) else None
    return _figure(f"{label} at the last layer", label, drawn, display_name(column), axis)


def _loss_figure(sweep: Sweep, column: str) -> Figure | None:
    """The loss against the number that is swept."""
    drawn = []
    for style, (name, points) in enumerate(along(sweep, column, "loss")[:_CURVES]):
        known = [(x, point.loss) for x, point in points if point.loss is not None]
        drawn.append(Line(name, style, tuple(x for x, _ in known), tuple(y for _, y in known)))
    xs = [x for line in drawn for x in line.x]
    if not xs or min(xs) == max(xs):
        return None
    return _figure("loss", "loss", drawn, display_name(column), Axis(min(xs), max(xs)), plain(sweep.loss_told))


def _line(name: str, style: int, rows: Sequence[tuple[float, Row]]) -> Line:
    """A curve with its band of one standard deviation."""
    values = tuple(number(row) for _, row in rows)
    lost = frozenset(i for i, value in enumerate(values) if value is None)
    return Line(name, style, tuple(x for x, _ in rows), values, tuple(_band(row) for _, row in rows), lost=lost)


def _band(row: Row) -> tuple[float, float] | None:
    """Mean ± standard deviation over sequences."""
    value = number(row)
    if value is None or row.std is None or row.sequences < 2:
        return None
    return (value - row.std, value + row.std)


def _figure(
    title: str, label: str, drawn: Sequence[Line], across: str, x: Axis | None, caption: str = ""
) -> Figure | None:
    """A chart with its legend; None where there is nothing to draw."""
    values = [value for line in drawn for value in line.y if value is not None]
    if x is None or not values:
        return None
    y = y_axis(values, 0.0, 1.0 if label.startswith("mu_bar") else 0.0)
    bands = [end for line in drawn for band in line.band if band for end in band]
    if not y.log and bands:
        y = Axis(min(y.low, *bands), max(y.high, *bands))
    spoken = "; ".join(f"{line.name}: {_spoken(line)}" for line in drawn)
    chart = Chart(
        f"{title}. {spoken}", across, "log scale" if y.log else "", x, y, tuple(drawn), told=tuple(_told(drawn))
    )
    keys = tuple((sample(line.style), line.name) for line in drawn) if len(drawn) > 1 else ()
    return Figure(title, caption or measure_names().get(label, ""), draw(chart), keys)


def _spoken(line: Line) -> str:
    known = [value for value in line.y if value is not None]
    texts = numbers([known[0], known[-1]]) if known else []
    return f"from {texts[0]} to {texts[1]}" if known else "no number"


def _told(drawn: Sequence[Line]) -> list[tuple[float, str]]:
    """What a pointer is told at each x: the number of every curve there."""
    found: dict[float, list[str]] = {}
    for line in drawn:
        for x, y, text in zip(line.x, line.y, numbers(line.y), strict=True):
            found.setdefault(x, [f"{x:g}"]).append(f"{line.name}: {text if y is not None else 'no number'}")
    return [(x, "\n".join(texts)) for x, texts in sorted(found.items())]


def _listings(sweep: Sweep) -> list[tuple[str, tuple[Listing, ...]]]:
    """The ranking of the layers, every point, and what could not be measured."""
    found = lines(sweep, first_measures(sweep, _COLUMNS))
    more = len(found.rows) - _LINES
    caption = "Each measure at the last layer." + (
        f" {more} more points are in the CSV and the JSON." if more > 0 else ""
    )
    words = frozenset(i for i, heading in enumerate(found.headings) if heading in {"verdict", "rule"})
    points = Listing("Every point", caption, found.headings, found.rows[:_LINES], words)
    listings: list[tuple[str, tuple[Listing, ...]]] = [("Points", (points,))] if found.rows else []
    if sweep.ranking:
        listings.insert(0, ("Which layers matter", (_ranking(sweep),)))
    if failed := failures(sweep):
        table = Listing("Points without a report", "", ("points", "why"), tuple(failed), frozenset({0, 1}))
        listings.append(("What could not be measured", (table,)))
    return listings


def _ranking(sweep: Sweep) -> Listing:
    """What every layer changes against the model as it is."""
    measures = list(dict.fromkeys(name for effect in sweep.ranking for name in effect.changes))[:_COLUMNS]
    rows = []
    for effect in sweep.ranking[:_LINES]:
        changes = [effect.loss_change, *(effect.changes.get(name) for name in measures)]
        cells = ("—" if value is None else ("+" if value > 0 else "") + numbers([value])[0] for value in changes)
        rows.append((str(effect.rank), label_of(effect.values), *cells))
    caption = "Changes at the last layer against the model as it is, the largest first."
    return Listing(
        "By what each does",
        caption,
        ("rank", "layer", "Δ loss", *(f"Δ {m}" for m in measures)),
        tuple(rows),
        frozenset({1}),
    )


def _data(sweep: Sweep) -> dict[str, Any]:
    """The numbers of the page as JSON can hold them."""
    found = lines(sweep, first_measures(sweep, _MOST))
    plain_data: dict[str, Any] = finite(
        {
            "schema": "rankscope.page/1",
            "model": plain(sweep.model),
            "axes": [{"name": display_name(axis.name), "layers": over_layers(axis.name)} for axis in sweep.axes],
            "inputs": dict(sweep.inputs),
            "loss": sweep.loss_told,
            "sentence": plain(sentence(sweep)),
            "headings": list(found.headings),
            "points": [list(row) for row in found.rows[:_LINES]],
        }
    )
    return plain_data
