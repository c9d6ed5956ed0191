"""`rankscope certify MODEL`: what the λ-skip theory guarantees for this model on these inputs, and which λ would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rankscope.cli import _complete, _defaults, _options, _slips
from rankscope.cli._command import Command, Option
from rankscope.cli._progress import working
from rankscope.cli._terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rankscope.certificate import Certificate

_HELP = """Say what the theory of λ-skip connections guarantees for MODEL on these inputs, and which λ would.

\b
rankscope certify zoo:lambda_skip,depth=12,lam=128
rankscope certify hf:DIR --text sample.txt --retain 0.95
rankscope certify model.pt --input batch.npz -o certificate.json
rankscope certify model.pt+lambda_skip=10

Three certificates, layer by layer and for the whole stack, the worst sequence first: Theorem 4.1 of arXiv 2410.10609;
the additive one, measured, for layers that scale their rows to unit norm; the seminorm one, measured, for any skip
without a norm after it. Where one does not apply, the reason stands beside it. MODEL is as `rankscope probe` takes it.
The exit code is 0 whatever is found, and 3 where no number could be had.
"""


@click.command(
    "certify", cls=Command, group="judge", place=2, help=_HELP, short_help="What the theory guarantees; the least λ."
)
@click.argument("model", metavar="MODEL", shell_complete=_complete.models)
@click.option(
    "--retain",
    cls=Option,
    section="What to certify",
    type=float,
    metavar="R",
    help="The fraction of mu that every layer is to keep (0.9).",
)
@click.option(
    "--a", cls=Option, section="What to certify", type=float, metavar="A", help="Its square, as the theorem has it."
)
@_options.model
@_options.inputs
@_options.where
@_options.certificate
@_options.config
@click.pass_context
def command(ctx: click.Context, /, model: str, retain: float | None, a: float | None, **_: Any) -> None:
    """Certify, write the outputs, show the table."""
    from rankscope.certificate import fraction
    from rankscope.renderers import CERTIFICATES, check, save_all, screen_for

    terminal = ctx.ensure_object(Terminal)
    asked = fraction(retain, a)
    form, outputs = ctx.params["form"], [Path.cwd() / path for path in ctx.params["outputs"]]
    screen = screen_for(form, outputs, CERTIFICATES)
    check(outputs, form, CERTIFICATES)
    aliases = _options.read_config(ctx).models
    _slips.check(ctx, model, aliases)
    found = _certified(ctx, terminal, (model, asked), aliases)
    text = screen.text(found, terminal.style(wide=False))
    save_all(found, outputs, name=form, of=CERTIFICATES)
    terminal.result(text)


def _certified(
    ctx: click.Context, terminal: Terminal, what: tuple[str, float], aliases: Mapping[str, str]
) -> Certificate:
    """Open the model, gather its inputs and certify it, behind a bar; torch is loaded here."""
    flags = {section: _options.given(ctx, section) for section in ("Model", "Inputs", "Measuring")}
    _defaults.announce(ctx, terminal, flags)
    seed = {key: value for key, value in flags["Inputs"].items() if key == "seed"}
    model, asked = what
    with working(terminal) as progress:
        from rankscope.certificate.run import certified
        from rankscope.inputs import InputOptions, gather
        from rankscope.pipeline import MeasureOptions, check_options
        from rankscope.sources import LoadOptions, open_model

        wanted, options = InputOptions(**flags["Inputs"]), MeasureOptions(**flags["Measuring"])
        check_options(options, wanted)  # a slip is told before a large model is read
        progress("opening the model", 0, None)
        source = open_model(model, LoadOptions(**flags["Model"], **seed, aliases=aliases))
        terminal.notes(source.notes)
        progress("gathering inputs", 0, None)
        batches = gather(source, wanted)
        terminal.notes(batches.notes)
        return certified(source, batches, options, asked, progress)
