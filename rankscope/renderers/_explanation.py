"""What `rankscope explain` and `rankscope zoo` show."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from rich.text import Text

from rankscope.renderers._screen import Screen, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rankscope.explanations import Explanation
    from rankscope.renderers import Style
    from rankscope.zoo import ZooEntry

_LINE = 100


def _screen(style: Style) -> Screen:
    """A page for sentences: longer lines are hard to read."""
    return Screen(dataclasses.replace(style, columns=min(style.columns, _LINE)))


def render_explanation(found: Explanation, style: Style) -> str:
    """An explanation for people.

    Args:
        found: what `explain` found.
        style: what the reader's screen can show.

    Returns:
        The whole text.
    """
    screen = _screen(style)
    screen.line(Text(found.name, style="bold").append(f" ({found.kind}): {found.title}", style="not bold"))
    screen.line()
    screen.pairs(found.sections)
    if found.related:
        screen.line()
        screen.pairs([("see also", ", ".join(found.related))])
    return screen.text()


def render_topics(groups: Mapping[str, Mapping[str, str]], style: Style) -> str:
    """What can be asked, in groups.

    Args:
        groups: heading to names, each with its line.
        style: what the reader's screen can show.

    Returns:
        The whole text.
    """
    screen = _screen(style)
    width = max(len(name) for names in groups.values() for name in names)
    for number, (heading, names) in enumerate(groups.items()):
        if number:
            screen.line()
        screen.line(heading, "bold")
        screen.pairs([(name.ljust(width), line) for name, line in names.items()], label="", indent=2)
    return screen.text()


def render_zoo(entries: Iterable[ZooEntry], style: Style, details: bool) -> str:
    """The entries of the zoo.

    Args:
        entries: what to show.
        style: what the reader's screen can show.
        details: with the meaning of every option.

    Returns:
        The whole text.
    """
    screen = _screen(style)
    for number, entry in enumerate(entries):
        if number:
            screen.line()
        screen.line(Text(entry.spec, style="bold").append(f"  {entry.kind}", style="dim"))
        facts = [("what", entry.summary.replace("`", ""))]
        facts += [("claim", entry.claim)] if entry.claim else []
        facts += [("paper", entry.paper)] if entry.paper else []
        facts += [(label, plain(text)) for label, text in entry.facts.items()] if details else []
        if entry.options and not details:
            facts.append(("options", ", ".join(f"{option.name}={option.default}" for option in entry.options)))
        screen.pairs(facts, indent=2, label="dim")
        if entry.options and details:
            _options(screen, entry)
    return screen.text()


def _options(screen: Screen, entry: ZooEntry) -> None:
    """A line for each option: its default, the values it takes, what it means."""
    screen.line()
    grid = screen.grid([("option", "left"), ("default", "left"), ("takes", "fold"), ("meaning", "fold")])
    for option in entry.options:
        grid.add_row(*map(Text, (option.name, option.default, option.values, option.meaning)))
    screen.console.print(grid)
    screen.line()
    first = entry.options[0]
    screen.steps([("Try", f"rankscope probe {entry.spec},{first.name}={first.default}")])
