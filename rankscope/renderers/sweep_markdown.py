"""Markdown of a sweep: for a pull request or a lab book."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import SWEEPS, Style, renderer
from rankscope.renderers._markup import line, name, text
from rankscope.renderers._parts import inputs_line
from rankscope.renderers._screen import plain
from rankscope.renderers._sweep import failures, first_measures, lines
from rankscope.sweeps.axes import label as label_of
from rankscope.sweeps.words import guarantees, sentence
from rankscope.table import numbers

if TYPE_CHECKING:
    from rankscope.sweeps import Sweep

_MEASURES = 8


@renderer("md", ".md", ".markdown", of=SWEEPS)
def write(sweep: Sweep, stream: TextIO, _: Style) -> None:
    """Write a sweep as GitHub-flavoured Markdown.

    Args:
        sweep: any.
        stream: where to.
        _: not asked.
    """
    out = ["## rankscope sweep", "", f"**{text(plain(sentence(sweep)))}**", ""]
    out += [f"- **model**: {text(plain(sweep.model))}"]
    out += [f"- **inputs**: {text(inputs_line(dict(sweep.inputs)))}"] if sweep.inputs else []
    out += [f"- **loss**: {text(plain(sweep.loss_told))}"] if sweep.loss_told else []
    out += [f"- **{text(label)}**: {text(plain(told))}" for label, told in guarantees(sweep)]
    found = lines(sweep, first_measures(sweep, _MEASURES))
    out += ["", "Each measure at the last layer of its stack.", ""]
    out += [line([name(heading) for heading in found.headings]), line(["---:"] * len(found.headings))]
    out += [line([text(cell) for cell in row]) for row in found.rows]
    out += _ranking(sweep)
    out += ["", *(f"- {text(who)}: {text(reason)}" for who, reason in failures(sweep))] if failures(sweep) else []
    out += ["", *(f"- {text(plain(note.text))} ({plain(note.code)})" for note in sweep.notes)] if sweep.notes else []
    stream.write("\n".join(out) + "\n")


def _ranking(sweep: Sweep) -> list[str]:
    """Which layer matters most."""
    if not sweep.ranking:
        return []
    measures = list(dict.fromkeys(each for effect in sweep.ranking for each in effect.changes))[:_MEASURES]
    heads = ["rank", "layer", "Δ loss", *(f"Δ {measure}" for measure in measures)]
    out = ["", "### Which layers matter", "", line(list(map(text, heads))), line(["---:"] * len(heads))]
    for effect in sweep.ranking:
        changes = [effect.loss_change, *(effect.changes.get(measure) for measure in measures)]
        cells = ["—" if value is None else numbers([value])[0] for value in changes]
        out.append(line([str(effect.rank), text(label_of(effect.values)), *map(text, cells)]))
    return out
