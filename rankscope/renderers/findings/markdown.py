"""Markdown: the findings for a pull request or the summary of a workflow step; bounded, however many do not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import FINDINGS, Style, renderer
from rankscope.renderers._markup import line as _row
from rankscope.renderers._markup import text as _text
from rankscope.renderers._screen import plain
from rankscope.renderers.findings._words import lines, place, result, verdict
from rankscope.table import sparkline

if TYPE_CHECKING:
    from rankscope.renderers.findings._words import Line
    from rankscope.requirements import Findings

MOST = 100  # lines of a table; a step summary is cut by GitHub at 1 MiB
_WIDTH = 32


@renderer("md", ".md", ".markdown", of=FINDINGS)
def write(findings: Findings, stream: TextIO, style: Style) -> None:
    """Write findings as GitHub-flavoured Markdown.

    Args:
        findings: of a check.
        stream: where to.
        style: without `unicode` the curves are ASCII.
    """
    title = "passed" if findings.passed else "failed"
    text = [f"## rankscope check: {title}", "", f"- **model**: {_text(plain(findings.model.get('spec') or 'model'))}"]
    text += [f"- **result**: {_text(verdict(findings))}", ""]
    text += [_row(["", "rule", "what was found", "over depth"]), _row(["---"] * 4)]
    found = sorted(lines(findings), key=lambda line: line.word == "ok")
    text += [_row([_text(part) for part in _parts(line, style)]) for line in found[:MOST]]
    text += [f"\n{len(found) - MOST} more lines are not shown."] if len(found) > MOST else []
    missed = [finding for finding in findings.findings if finding.status != "ok"]
    if len(missed) > 1:
        text += ["", "<details><summary>Every number that does not hold</summary>", ""]
        text += [_row(["rule", "where", "what"]), _row(["---"] * 3)]
        told = ((plain(f.requirement), place(f), result(f)) for f in missed[:MOST])
        text += [_row([_text(part) for part in parts]) for parts in told]
        text += [f"\n{len(missed) - MOST} more are not shown."] if len(missed) > MOST else []
        text += ["", "</details>"]
    stream.write("\n".join(text) + "\n")


def _parts(line: Line, style: Style) -> tuple[str, str, str, str]:
    reason = f"because: {plain(line.rule.reason)}" if line.rule.reason and line.word != "ok" else ""
    told = "; ".join(part for part in (line.text, line.begin, reason) if part)
    curve = line.findings[0].values
    shown = sparkline(curve, not style.unicode, _WIDTH) if len(curve) > 1 else ""
    return line.word, plain(line.rule), told, shown
