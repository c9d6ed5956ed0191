"""Markdown of a comparison: for a pull request or a lab book. Every measure has a table of its own, folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import COMPARISONS, Style, renderer
from rankscope.renderers._comparison import alone, facts, legend, sides
from rankscope.renderers._comparison_cells import Marks, texts
from rankscope.renderers._comparison_end import ends, headings, signed
from rankscope.renderers._markup import line, name, text
from rankscope.renderers._parts import inputs_line
from rankscope.renderers._screen import plain

if TYPE_CHECKING:
    from rankscope.comparison import Comparison
    from rankscope.renderers._comparison import Column, Side


@renderer("md", ".md", ".markdown", of=COMPARISONS)
def write(comparison: Comparison, stream: TextIO, style: Style) -> None:
    """Write a comparison as GitHub-flavoured Markdown.

    Args:
        comparison: any.
        stream: where to.
        style: without `unicode` the signs are ASCII.
    """
    marks = Marks(style.unicode)
    about_all = [*facts(comparison), ("inputs", inputs_line(comparison.inputs))]
    lines = ["## rankscope compare"]
    for sentence in comparison.sentence.splitlines():
        lines += ["", f"**{text(plain(sentence))}**"]
    lines.append("")
    lines += [f"- **{word}**: {text(about)}" for word, about in about_all]
    for pair in comparison.pairs:
        lines += ["", f"### {pair.reference} and {pair.other}", ""]
        lines += [f"{text(plain(pair.sentence))}", ""] if len(comparison.pairs) > 1 else []
        lines += [line(["measure", *headings(pair)]), line(["---", *["---:"] * (len(headings(pair)) - 1), "---"])]
        lines += [line([name(end.label), *map(text, end.texts)]) for end in ends(comparison, pair, marks)]
    for side in sides(comparison):
        lines += ["", f"### {name(side.stack or 'model')}"]
        for column in side.columns:
            lines += _measure(comparison, side, column, marks)
    told = [*legend(comparison, style.unicode), *marks.legend()]
    lines += ["", *(f"{text(mark)} {text(meaning)}  " for mark, meaning in told)]
    lines += [f"\n**{text(word)}**: {text(about)}" for word, about in alone(comparison)]
    lines += [f"\n**{text(plain(note.code))}**: {text(plain(note.text))}" for note in comparison.notes]
    stream.write("\n".join(lines) + "\n")


def _measure(comparison: Comparison, side: Side, column: Column, marks: Marks) -> list[str]:
    """The layers of one measure."""
    letters = [subject.letter for subject in comparison.subjects]
    differences = [f"{letter} − A" for letter in letters[1:]]
    lines = ["", f"<details><summary>{text(column.label)}</summary>", ""]
    lines += [line(["k", "layer", *letters, *differences]), line(["---:", "---", *["---:"] * (2 * len(letters) - 1)])]
    found = texts(column, range(len(side.lines)), marks)
    for i, row in enumerate(side.lines):
        shown = [text(of_one[i].strip()) for of_one in found]
        told = ["" if entry is None else signed(entry.difference, 3) for entry in column.cells[i]]
        lines.append(line([str(row.index), name(row.name), *shown, *told]))
    return [*lines, "", "</details>"]
