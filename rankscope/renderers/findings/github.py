"""GitHub: annotations of a workflow run, one a rule and stack, ten at most and then a total.

A line that begins with ``::`` is a command, so every name is on one line and percent-escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import FINDINGS, Style, renderer
from rankscope.renderers._screen import plain
from rankscope.renderers.findings._words import lines, verdict

if TYPE_CHECKING:
    from rankscope.renderers.findings._words import Line
    from rankscope.requirements import Findings

MOST = 10  # what the pages of GitHub show of one step


@renderer("github", of=FINDINGS)
def write(findings: Findings, stream: TextIO, style: Style) -> None:  # noqa: ARG001 - the same everywhere
    """Write what does not hold as annotations, errors before warnings; what holds is one notice.

    Args:
        findings: of a check.
        stream: where to.
        style: not used.
    """
    missed = sorted((line for line in lines(findings) if line.word != "ok"), key=lambda line: line.word == "warn")
    for line in missed[:MOST]:
        stream.write(_annotation("warning" if line.word == "warn" else "error", plain(line.rule), _told(line)))
    more = f", {len(missed) - MOST} more than are shown" if len(missed) > MOST else ""
    stream.write(_annotation("notice", "rankscope check", verdict(findings) + more))


def _told(line: Line) -> str:
    reason = f"because: {plain(line.rule.reason)}" if line.rule.reason else ""
    return "; ".join(part for part in (line.text, line.begin, reason) if part)


def _annotation(level: str, title: str, message: str) -> str:
    """One command of the workflow."""
    return f"::{level} title={_escaped(title, ':,')}::{_escaped(message)}\n"


def _escaped(text: str, also: str = "") -> str:
    """Text without the characters that end a value."""
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + also else c for c in text)
