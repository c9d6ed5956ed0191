"""HTML of a certificate: one file without network or scripts. The sentence, mu against its bound, and the tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from markupsafe import Markup

from rankscope.renderers import CERTIFICATES, Style, renderer
from rankscope.renderers._axis import Axis
from rankscope.renderers._certificate import about, facts, grid, headings, hypotheses, legend, outcomes, title
from rankscope.renderers._screen import plain
from rankscope.renderers._svg import Chart, Line, defs, draw, sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rankscope.certificate import Certificate, Stack
    from rankscope.renderers._certificate import Grid

_STYLE = Path(__file__).parent / "_page" / "page.css"
_PAGE = Markup(
    '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
    "<style>{style}</style></head>\n<body>\n{defs}\n<header><h1>{title}</h1></header>\n<main>\n{body}\n</main>\n"
    "</body>\n</html>\n"
)


@renderer("html", ".html", ".htm", of=CERTIFICATES)
def write(certificate: Certificate, stream: TextIO, _: Style) -> None:
    """Write the page of a certificate.

    Args:
        certificate: any.
        stream: where to.
        _: not asked: a browser can show everything.
    """
    parts = [_pairs(facts(certificate))]
    for stack in certificate.stacks:
        parts += _stack(stack)
    parts.append(_pairs((plain(note.code), plain(note.text)) for note in certificate.notes))
    style = Markup(_STYLE.read_text(encoding="utf-8"))  # noqa: S704 - a file of this package
    name = f"rankscope certify {plain(certificate.model.get('spec', ''))}"
    stream.write(_PAGE.format(title=name, style=style, defs=defs(), body=Markup("\n").join(parts)))


def _pairs(pairs: Iterable[tuple[str, str]]) -> Markup:
    return Markup("").join(Markup("<p><b>{}</b> {}</p>\n").format(label, text) for label, text in pairs)


def _stack(stack: Stack) -> list[Markup]:
    """One stack: the sentence, the three certificates, the chart, and the blocks of the worst sequence."""
    found = grid(stack, stack.worst)
    parts = [Markup("<h2>{}{}</h2><p><b>{}</b></p>").format(plain(stack.stack), title(stack), plain(stack.sentence))]
    lines = outcomes(stack)
    parts.append(_table(headings(stack)[:-1], (line[:-1] for line in lines)))
    parts.append(_pairs((line[0], line[-1]) for line in lines if line[-1]))
    if told := hypotheses(stack.worst.theorem):
        parts.append(_pairs([("Theorem 4.1", told)]))
    parts += [Markup("<h3>{}</h3>").format(about(stack.worst, len(stack.sequences))), *_chart(found)]
    rows = [
        [str(k), name, *(_marked(*column.cells[i]) for column in found.columns)]
        for i, (k, name) in enumerate(zip(found.index, found.names, strict=True))
    ]
    parts.append(_table(["k", "layer", *(column.heading for column in found.columns)], rows))
    parts.append(_pairs((f"({i + 1})", reason) for i, reason in enumerate(found.reasons)))
    parts.append(_pairs(("absent", f"{', '.join(names)}: {why}") for why, names in found.absent.items()))
    return [*parts, _pairs(legend(column.heading for column in found.columns))]


def _marked(text: str, mark: int) -> str:
    return f"{text} ({mark})" if mark else text


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> Markup:
    """A table that scrolls where the screen is narrow."""
    head = Markup("").join(Markup("<th>{}</th>").format(text) for text in heads)
    rows = [Markup("").join(Markup("<td>{}</td>").format(text) for text in line) for line in lines]
    body = Markup("").join(Markup("<tr>{}</tr>\n").format(row) for row in rows)
    return Markup("<div class='scroll'><table><thead><tr>{}</tr></thead><tbody>\n{}</tbody></table></div>").format(
        head, body
    )


def _chart(found: Grid) -> list[Markup]:
    """The curves of mu, and of what is certified of it."""
    curves = [column for column in found.columns if column.heading in {"mu", "certified"}]
    x = tuple(map(float, found.index))
    most = max((v for column in curves for v in column.values if v is not None and math.isfinite(v)), default=0.0)
    if not most > 0:
        return []
    lines = tuple(
        Line(column.heading, i, x, tuple(None if v is None else max(0.0, v) for v in column.values))
        for i, column in enumerate(curves)
    )
    told = ", ".join(f"{line.name}: {_ends(line)}" for line in lines)
    chart = Chart(f"mu over depth. {told}", "layer k", "mu", Axis(x[0], x[-1], whole=True), Axis(0.0, most), lines)
    keys = Markup(", ").join(Markup("{} {}: {}").format(sample(line.style), line.name, _ends(line)) for line in lines)
    caption = Markup("<figcaption>Over depth, {}.</figcaption>").format(keys)
    return [Markup("<div class='figures'><figure>{}{}</figure></div>").format(draw(chart), caption)]


def _ends(line: Line) -> str:
    known = [value for value in line.y if value is not None]
    return f"from {known[0]:.4g} to {known[-1]:.4g}" if known else "no number"
