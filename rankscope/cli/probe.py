"""`rankscope probe MODEL`: measure every layer; the table on the screen, the report to files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rankscope.cli import _complete, _options
from rankscope.cli._command import Command
from rankscope.cli._progress import working
from rankscope.cli._terminal import Terminal
from rankscope.errors import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rankscope.records import Report, Row, Vector


_HELP = """Measure every layer of MODEL: do its tokens draw together, where, and how fast?

\b
rankscope probe model.pt -o report.json -o report.csv
rankscope probe net.py:Net --weights model.safetensors --random x=8x128x64
rankscope probe hf:DIR --text sample.txt
rankscope probe zoo:transformer,depth=12,norm=post

MODEL is a file, a Hugging Face directory, module:factory, file.py:factory, zoo:NAME, the name of a demo checkpoint, or
an alias from the configuration. Nothing in a file is run unless you --trust it. The exit code is 0 whatever is found,
and 3 where no number could be had.
"""


@click.command("probe", cls=Command, group="measure", help=_HELP, short_help="Measure every layer of a model.")
@click.argument("model", metavar="MODEL", shell_complete=_complete.models)
@_options.model
@_options.inputs
@_options.measuring
@_options.output
@_options.config
@click.pass_context
def command(ctx: click.Context, /, model: str, **_: Any) -> None:
    """Measure, write the outputs, show the table."""
    from rankscope.renderers import check, save_all, screen_for

    terminal = ctx.ensure_object(Terminal)
    form, wide = ctx.params["form"], ctx.params["wide"]
    outputs = [Path.cwd() / path for path in ctx.params["outputs"]]  # a model's code may change the directory
    screen = screen_for(form, outputs)
    check(ctx.params["outputs"], form)
    aliases = _options.read_config(ctx).models
    report = _measure(ctx, terminal, model, aliases)
    text = screen.text(report, terminal.style(wide))
    save_all(report, outputs, wide, form)
    terminal.result(text)
    _insist(report)


def _measure(ctx: click.Context, terminal: Terminal, model: str, aliases: Mapping[str, str]) -> Report:
    """Open the model, gather its inputs, and measure, with a bar on the screen."""
    flags = {section: _options.given(ctx, section) for section in ("Model", "Inputs", "Measuring")}
    seed = {key: value for key, value in flags["Inputs"].items() if key == "seed"}
    with working(terminal) as progress:
        from rankscope.inputs import InputOptions, gather
        from rankscope.measures import resolve
        from rankscope.pipeline import MeasureOptions, check_options, measure
        from rankscope.sources import LoadOptions, open_model

        wanted, measuring = InputOptions(**flags["Inputs"]), MeasureOptions(**flags["Measuring"])
        resolve(measuring.measures)
        check_options(measuring, wanted)  # a slip is told before a large model is read
        progress("opening the model", 0, None)
        source = open_model(model, LoadOptions(**flags["Model"], **seed, aliases=aliases))
        terminal.notes(source.notes)
        progress("gathering inputs", 0, None)
        batches = gather(source, wanted)
        terminal.notes(batches.notes)
        return measure(source, batches, measuring, progress=progress)


def _insist(report: Report) -> None:
    """Fail where not one row has a number, with the most frequent reasons."""
    rows: list[Row | Vector] = [*report.rows, *report.spectra]
    if any(row.status == "ok" for row in rows):
        return
    reasons = Counter(row.reason or row.status for row in rows)
    details = [(f"{count} rows", reason) for reason, count in reasons.most_common(3)]
    told = f"none of {len(rows)} rows is ok" if rows else "no layer gave a row"
    raise CannotMeasure("RS440", f"no number could be had: {told}", details=details)
