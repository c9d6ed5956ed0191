"""`rankscope probe MODEL`: measure every layer; the table on the screen, the report to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rankscope.cli import _complete, _options
from rankscope.cli._command import Command
from rankscope.cli._measuring import insist, measured
from rankscope.cli._terminal import Terminal

_HELP = """Measure every layer of MODEL: do its tokens draw together, where, and how fast?

\b
rankscope probe model.pt -o report.json -o report.csv
rankscope probe net.py:Net --weights model.safetensors --random x=8x128x64
rankscope probe hf:DIR --text sample.txt
rankscope probe zoo:transformer,depth=12,norm=post
rankscope probe model.pt+lambda_skip=1.5@6..8+no_norm

MODEL is a file, a Hugging Face directory, module:factory, file.py:factory, zoo:NAME, the name of a demo checkpoint, or
an alias from the configuration; edits may follow it, +EDIT=VALUE@LAYERS, which are in force while it runs. Nothing in a
file is run unless you --trust it. The exit code is 0 whatever is found, and 3 where no number could be had.
"""


@click.command("probe", cls=Command, group="measure", place=1, help=_HELP, short_help="Measure every layer of a model.")
@click.argument("model", metavar="MODEL", shell_complete=_complete.models)
@_options.model
@_options.inputs
@_options.measuring
@_options.output
@_options.config
@click.pass_context
def command(ctx: click.Context, /, model: str, **_: Any) -> None:
    """Measure, write the outputs, show the table."""
    from rankscope.renderers import check, renderer_for, save_all, screen_for

    terminal = ctx.ensure_object(Terminal)
    form, wide = ctx.params["form"], ctx.params["wide"]
    outputs = [Path.cwd() / path for path in ctx.params["outputs"]]  # a model's code may change the directory
    screen = screen_for(form, outputs)
    check(ctx.params["outputs"], form, wide=wide)
    aliases = _options.read_config(ctx).models
    keep_sums = any(renderer_for(path, form).name == "safetensors" for path in outputs)
    report = measured(ctx, terminal, model, aliases, keep_sums=keep_sums)
    text = screen.text(report, terminal.style(wide))
    save_all(report, outputs, wide, form)
    terminal.result(text)
    insist(report)
