"""Table: the lines of a run on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from benchmarks.targets import Line

WORDS = {
    "forward": "rankscope, `forward`",
    "cheap": "rankscope, cheap tier",
    "same": "rankscope, what the naive hook computes",
    "pooled": "rankscope, pooled spectra",
    "full": "rankscope, `full`, gradients too",
    "naive": "naive hook",
    "torchlens": "TorchLens, trace and its ranks",
    "weightwatcher": "weightwatcher, weights only",
    "rankme": "RankMe's arithmetic, pooled",
}
VERDICTS = {True: ("met", "green"), False: ("MISSED", "red"), None: ("", "")}


def number(value: float | None, unit: str) -> str:
    """A measured value with its unit.

    Args:
        value: the number; None where there is none.
        unit: as a target has it.

    Returns:
        The text.

    Example:
        >>> number(1.234, "×"), number(2e-9, ""), number(None, "MB")
        ('1.23×', '2.0e-09', 'not measured')
    """
    if value is None:
        return "not measured"
    if not unit:
        return f"{value:.1e}"
    size = f"{value:.2f}" if abs(value) < 10 else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return size + (unit if unit == "×" else f" {unit}")


def target(line: Line) -> str:
    """The limit of a line as text; empty where there is none."""
    if line.limit is None:
        return ""
    return ("≤ " if line.sense == "most" else "≥ ") + number(line.limit, line.unit)


def verdict(line: Line) -> str:
    """Met, missed, or empty where there is no target."""
    return VERDICTS[line.met][0]


def show(found: list[Line], title: str, *, judged: bool = True) -> None:
    """Print lines, with what exactly each compares below it.

    Args:
        found: of a run.
        title: above the table.
        judged: whether the numbers are of the sizes that the targets are about.
    """
    table = Table(title=title, title_justify="left", show_edge=False)
    for name in ("what", "target", "measured", "") if judged else ("what", "measured"):
        table.add_column(name, justify="left" if name in ("what", "") else "right", no_wrap=name != "what")
    for line in found:
        what = Text(line.what).append(f"\n{line.compared}", style="dim")
        text, style = VERDICTS[line.met]
        measured = number(line.measured, line.unit)
        table.add_row(*((what, target(line), measured, Text(text, style=style)) if judged else (what, measured)))
    console = Console()
    console.print(table)
    if judged:
        limited = [line for line in found if line.met is not None]
        console.print(f"{sum(line.met is True for line in limited)} of {len(limited)} targets met")


def show_failed(once: dict[str, dict[str, object]]) -> None:
    """Print why there is no number of what was run by itself and failed.

    Args:
        once: of a run, by contender and inputs.
    """
    for name, found in once.items():
        if reason := found.get("failed"):
            Console().print(Text(f"not measured: {name}: {reason}"))


def show_alone(rows: list[tuple[str, float | None, float | None]]) -> None:
    """Print what was run once.

    Args:
        rows: name, ratio of time, megabytes.
    """
    if not rows:
        return
    table = Table(title="8×512, each in a process of its own", title_justify="left", show_edge=False)
    for name in ("contender", "time / plain forward", "memory beyond it"):
        table.add_column(name, justify="left" if name == "contender" else "right")
    for name, ratio, memory in rows:
        table.add_row(WORDS.get(name, name), number(ratio, "×"), number(memory, "MB"))
    Console().print(table)
