"""Markdown of a certificate: for a pull request or a lab book."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import CERTIFICATES, Style, renderer
from rankscope.renderers._certificate import about, facts, grid, headings, hypotheses, legend, outcomes, title
from rankscope.renderers._markup import line, name, text
from rankscope.renderers._screen import plain
from rankscope.table import sparkline

if TYPE_CHECKING:
    from rankscope.certificate import Certificate, Stack


@renderer("md", ".md", ".markdown", of=CERTIFICATES)
def write(certificate: Certificate, stream: TextIO, style: Style) -> None:
    """Write a certificate as GitHub-flavoured Markdown.

    Args:
        certificate: any.
        stream: where to.
        style: without `unicode` the curves are ASCII.
    """
    lines = ["## rankscope certify", "", *(f"- **{word}**: {text(told)}" for word, told in facts(certificate))]
    for stack in certificate.stacks:
        lines += ["", *_stack(stack, style)]
    lines += [f"\n**{text(plain(note.code))}**: {text(plain(note.text))}" for note in certificate.notes]
    stream.write("\n".join(lines) + "\n")


def _stack(stack: Stack, style: Style) -> list[str]:
    """One stack: the sentence, the certificates, and the worst sequence block by block."""
    worst = stack.worst
    found, heads = grid(stack, worst), headings(stack)
    lines = [f"### {name(stack.stack or 'model')}{text(title(stack))}", "", f"**{text(plain(stack.sentence))}**", ""]
    lines += [line([text(head) for head in heads]), line(["---"] * len(heads))]
    lines += [line([text(cell) for cell in outcome]) for outcome in outcomes(stack)]
    lines += ["", f"Theorem 4.1: {text(hypotheses(worst.theorem))}"] if hypotheses(worst.theorem) else []
    lines += ["", text(about(worst, len(stack.sequences))), ""]
    lines += [line(["k", "layer", *(text(column.heading) for column in found.columns)])]
    lines += [line(["---:", "---", *("---:" for _ in found.columns)])]
    for i, (k, layer) in enumerate(zip(found.index, found.names, strict=True)):
        cells = [cell + (f" ({mark})" if mark else "") for cell, mark in (column.cells[i] for column in found.columns)]
        lines.append(line([str(k), name(layer), *cells]))
    for column in found.columns:
        if column.heading in {"mu", "certified"}:
            lines.append(f"\n{column.heading} over depth: {text(sparkline(column.values, not style.unicode))}")
    lines += [f"\n({i + 1}) {text(reason)}" for i, reason in enumerate(found.reasons)]
    lines += [f"\nabsent: {text(', '.join(names))}: {text(why)}" for why, names in found.absent.items()]
    return [
        *lines,
        *(f"\n{text(word)}: {text(told)}" for word, told in legend(column.heading for column in found.columns)),
    ]
