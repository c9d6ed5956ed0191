"""`rankscope report REPORT…`: saved reports again, in any format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rankscope.cli import _options
from rankscope.cli._command import Command
from rankscope.cli._terminal import Terminal

_HELP = """Render saved reports again.

\b
rankscope report report.json
rankscope report report.json -o report.md -o report.csv
rankscope report runs/*.json -o all.parquet
rankscope report runs/*.json --format jsonl
rankscope report part-*.safetensors --merge -o whole.json

REPORT is what `rankscope probe MODEL -o FILE.json` wrote, or `-o FILE.safetensors`, which also holds the sums behind
pooled measures. Several reports are shown one after the other; in csv, jsonl and parquet their rows follow each other,
each with its model and the time its report was made. With --merge they become one. A certificate, what
`rankscope certify MODEL -o FILE.json` wrote, is rendered alone.
"""


@click.command("report", cls=Command, group="look", place=1, help=_HELP, short_help="Render saved reports again.")
@click.argument(
    "reports", metavar="REPORT...", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False)
)
@click.option(
    "--merge",
    is_flag=True,
    help="Make one report of runs of one model over parts of the inputs, as one run over all would give it; pooled "
    "measures need reports saved as .safetensors.",
)
@_options.output
@click.pass_context
def command(ctx: click.Context, /, reports: tuple[Path, ...], merge: bool, **_: Any) -> None:
    """Read, write the outputs, show."""
    from rankscope.certificate.reading import is_certificate, load_certificate
    from rankscope.renderers import CERTIFICATES, RENDERERS, check, load, save_all, screen_for

    terminal = ctx.ensure_object(Terminal)
    form, wide, outputs = ctx.params["form"], ctx.params["wide"], ctx.params["outputs"]
    alone = len(reports) == 1 and not merge and is_certificate(reports[0])
    of = CERTIFICATES if alone else RENDERERS
    screen = screen_for(form, outputs, of)
    check(outputs, form, of, wide=wide)
    if merge:
        from rankscope.merging import merge as merged

        found: Any = [merged(*reports)]
    else:
        found = load_certificate(reports[0]) if alone else [load(path) for path in reports]
    text = screen.text(found, terminal.style(wide))
    save_all(found, outputs, wide, form, of)
    terminal.result(text)
