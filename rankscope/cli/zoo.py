"""`rankscope zoo`: the reference architectures and the demo checkpoints."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from rankscope.cli import _complete, _options
from rankscope.cli._command import Command, Option
from rankscope.cli._terminal import Terminal
from rankscope.registry import unknown_name

_HELP = """List the reference architectures with their papers and options, and the demo checkpoints.

\b
rankscope zoo
rankscope zoo transformer
rankscope zoo --names

An architecture is probed as zoo:NAME,option=value; a demo checkpoint by its name.
"""


@click.command(
    "zoo", cls=Command, group="look", place=4, help=_HELP, short_help="Reference architectures and demo checkpoints."
)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=_complete.architectures)
@click.option("--names", is_flag=True, cls=Option, help="Only the names, as probe takes them, one a line.")
@_options.page
@click.pass_context
def command(ctx: click.Context, /, name: str | None, names: bool, **_: Any) -> None:
    """List the zoo, or one entry of it."""
    from rankscope.zoo import list_zoo

    terminal = ctx.ensure_object(Terminal)
    entries = list_zoo()
    if name is not None:
        wanted = name.removeprefix("zoo:").removeprefix("demo:").partition(",")[0]
        known = [entry.name for entry in entries]
        if wanted not in known:
            error = unknown_name("architecture or demo checkpoint", wanted, known)
            raise error
        entries = tuple(entry for entry in entries if entry.name == wanted)
    if names:
        terminal.result("".join(f"{entry.spec}\n" for entry in entries))
    elif ctx.params["form"] == "json":
        terminal.result(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=1) + "\n")
    else:
        from rankscope.renderers._explanation import render_zoo

        terminal.result(render_zoo(entries, terminal.style(wide=False), details=name is not None))
