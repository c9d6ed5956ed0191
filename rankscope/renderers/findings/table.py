"""Table: what came of every rule, on the screen, with the measure over depth and the layer where it begins to fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.table import Table as Grid
from rich.text import Text

from rankscope.renderers import FINDINGS, Style, renderer
from rankscope.renderers._screen import Screen, plain
from rankscope.renderers.findings._words import lines, place, result, verdict
from rankscope.table import sparkline

if TYPE_CHECKING:
    from rankscope.renderers.findings._words import Line
    from rankscope.requirements import Findings

_COLORS = {"ok": "bold green", "warn": "bold yellow", "FAIL": "bold red", "UNDEFINED": "bold magenta"}
_CURVE = 32


@renderer("table", ".txt", of=FINDINGS)
def write(findings: Findings, stream: TextIO, style: Style) -> None:
    """Write findings for a screen of `style.columns`.

    Args:
        findings: of a check.
        stream: where to.
        style: what the screen can show; `every` lists each number that does not hold.
    """
    screen = Screen(style)
    screen.pairs([("model", plain(findings.model.get("spec") or "model"))])
    screen.line()
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold", max_width=max(24, screen.width * 2 // 5))
    grid.add_column(overflow="fold")
    for line in lines(findings):
        grid.add_row(Text(line.word, style=_COLORS[line.word]), Text(plain(line.rule)), Text(_told(line, style)))
    screen.console.print(grid)
    screen.line()
    screen.line(verdict(findings), _COLORS["ok" if findings.passed else "FAIL"])
    stream.write(screen.text())


def _told(line: Line, style: Style) -> str:
    """What happened, where it began, the curve over depth, and why the rule is there."""
    text = [line.text]
    curve = line.findings[0].values
    if len(curve) > 1:
        text.append(f"over depth {sparkline(curve, not style.unicode, _CURVE)}")
        text[-1] += f"  {line.begin}" if line.begin else ""
    if line.word != "ok" and line.rule.reason:
        text.append(f"because: {plain(line.rule.reason)}")
    if style.every and line.word != "ok" and len(line.findings) > 1:
        text += [f"{place(finding)}: {result(finding)}" for finding in line.findings]
    return "\n".join(text)
