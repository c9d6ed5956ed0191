"""Progress: a bar on standard error while the work goes on, and nothing of it left behind."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rankscope.cli._terminal import Terminal

    Progress = Callable[[str, int, int | None], None]


@contextlib.contextmanager
def working(terminal: Terminal) -> Iterator[Progress]:
    """Show what is being done, and keep what the model's own code prints out of the result.

    Args:
        terminal: whether a bar is wanted; there is none unless standard error is a terminal.

    Yields:
        `progress(stage, done, total)`; a total of None is unknown.
    """
    if terminal.quiet or not terminal.progress or not sys.stderr.isatty():
        with contextlib.redirect_stdout(sys.stderr):
            yield lambda _stage, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    color = terminal.colors(sys.stderr)
    console = Console(file=sys.stderr, no_color=not color, highlight=False, legacy_windows=False)
    name, count = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[count]}"))
    columns = (SpinnerColumn(), name, BarColumn(), count, TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True)
    with bar, contextlib.redirect_stdout(sys.stderr):
        task = bar.add_task("loading torch", total=None, count="")

        def progress(stage: str, done: int, total: int | None) -> None:
            told = "" if total is None else f"{done}/{total}"
            bar.update(task, description=display_name(stage), completed=done, total=total, count=told)

        yield progress
