"""`rankscope inspect MODEL`: what a file is and what can be captured of the model, before anything is measured."""

from __future__ import annotations

import json
from typing import Any

import click

from rankscope.cli import _complete, _options, _slips
from rankscope.cli._command import Command
from rankscope.cli._progress import working
from rankscope.cli._terminal import Terminal

_HELP = """Say what MODEL is, what it would import, and what can be captured of it.

\b
rankscope inspect model.pt
rankscope inspect model.safetensors --arch net.py:Net
rankscope inspect hf:DIR --format json

A file is described by its content, and nothing in it is run. Where that is safe, or you say that it may be, it is
opened, and one forward pass shows its blocks, their residual adds, values and attention maps. The exit code is 0 also
for a file that is refused: it is described, with the reason and the way out.
"""


@click.command(
    "inspect", cls=Command, group="look", place=2, help=_HELP, short_help="What a file is and what can be captured."
)
@click.argument("model", metavar="MODEL", shell_complete=_complete.models)
@_options.model
@_options.inputs
@_options.layers
@_options.page
@_options.config
@click.pass_context
def command(ctx: click.Context, /, model: str, **_: Any) -> None:
    """Describe, open where that is allowed, look, show."""
    from rankscope.inspection import inspect

    terminal = ctx.ensure_object(Terminal)
    flags = {key: value for part in ("Model", "Inputs", "Layers") for key, value in _options.given(ctx, part).items()}
    aliases = _options.read_config(ctx).models
    _slips.check(ctx, model, aliases)
    with working(terminal):
        found = inspect(model, **flags, aliases=aliases)
    if ctx.params["form"] == "json":
        terminal.result(json.dumps(found.to_dict(), indent=1, allow_nan=False, ensure_ascii=True) + "\n")
        return
    from rankscope.renderers._inspection import render_inspection

    terminal.result(render_inspection(found, terminal.style(wide=False)))
