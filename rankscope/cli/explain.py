"""`rankscope explain NAME`: what a measure, a code or a word of a report means, and what to do about it."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import click

from rankscope.cli import _complete, _options
from rankscope.cli._command import Command
from rankscope.cli._terminal import Terminal

_HELP = """Say what a measure, an edit, a code or a word of a report means, what usually causes it, and what to do.

\b
rankscope explain effective_rank_unit
rankscope explain RS301
rankscope explain lambda_skip
rankscope explain collapsed
rankscope explain RS3

Without a name all that can be asked is listed; the beginning of a code lists the codes that begin so.
"""


@click.command("explain", cls=Command, group="look", place=3, help=_HELP, short_help="What a measure or a code means.")
@click.argument("name", metavar="[NAME]", required=False, shell_complete=_complete.topics)
@_options.page
@click.pass_context
def command(ctx: click.Context, /, name: str | None, **_: Any) -> None:
    """Explain one name, or list them all."""
    from rankscope.explanations import explain, topics

    terminal = ctx.ensure_object(Terminal)
    begun = name if name and re.fullmatch(r"RS\d{0,2}", name) else None
    found = None if name is None or begun else explain(name)
    listed = {key: line for key, line in topics().items() if begun is None or key.startswith(begun)}
    if ctx.params["form"] == "json":
        terminal.result(json.dumps(dataclasses.asdict(found) if found else listed, indent=1) + "\n")
        return
    from rankscope.renderers._explanation import render_explanation, render_topics

    style = terminal.style(wide=False)
    groups = {"Codes of errors and notes": listed} if begun else _groups(listed)
    terminal.result(render_explanation(found, style) if found else render_topics(groups, style))


def _groups(listed: dict[str, str]) -> dict[str, dict[str, str]]:
    """All that can be asked under headings; a form or scope of a measure is had by its name."""
    from rankscope.declarations import declarations
    from rankscope.errors import catalogue
    from rankscope.explanations import codes, edit_names, measure_names

    words = {name: line for name, line in listed.items() if name not in {*measure_names(), *edit_names(), *catalogue()}}
    return {
        "Measures, also with _centered, _unit, _unit_centered, pooled: and head: where they have it": {
            name: listed[name] for name in declarations("measures", "measure")
        },
        "Edits, as MODEL+EDIT": edit_names(),
        "Presets and the words of a report": words,
        "Codes of errors and notes": codes(),
    }
