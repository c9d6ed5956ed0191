"""`rankscope compare A vs B`: models and saved reports side by side; where they differ first, beyond noise."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rankscope.cli import _complete, _defaults, _options, _slips
from rankscope.cli._command import Command, Option
from rankscope.cli._progress import working
from rankscope.cli._terminal import Terminal
from rankscope.config import Config
from rankscope.errors import UsageError
from rankscope.saved import is_saved

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rankscope.comparison import Subject
    from rankscope.records import Report

_HELP = """Put models and saved reports side by side: the same measures on the same inputs, layer by layer.

\b
rankscope compare baseline vs lambda-skip
rankscope compare model.pt vs model.pt+lambda_skip=0 vs model.pt+lambda_skip=2
rankscope compare before.json vs after.json -o side.md
rankscope compare a.pt vs b.pt c.pt --arch net.py:Net --input batch.npz
rankscope compare before.json vs model.pt --input batch.npz

The first is the reference. A, B and those that follow are models, as `rankscope probe` takes them, also with edits
(MODEL+EDIT=VALUE@LAYERS), or reports that it saved; the word "vs" may be left out, and a file of that
name is written ./vs. Models see the inputs that are given,
else those of a saved report, where they can be drawn again, else those of the first model. A report of other inputs is
refused. The exit code is 0 whatever is found.
"""


@click.command(
    "compare", cls=Command, group="measure", place=2, help=_HELP, short_help="Models and reports side by side."
)
@click.argument("models", metavar="A [vs] B...", nargs=-1, shell_complete=_complete.models)
@click.option(
    "--align",
    cls=Option,
    section="Layers beside each other",
    metavar="HOW",
    help="name or depth (k/K). Default: by name where two stacks share names, else by depth.",
)
@_options.model
@_options.inputs
@_options.measuring
@_options.comparison
@_options.config
@click.pass_context
def command(ctx: click.Context, /, models: tuple[str, ...], align: Any, **_: Any) -> None:
    """Read, measure, compare, write the outputs, show."""
    from rankscope import comparison
    from rankscope.comparison.subjects import naming
    from rankscope.renderers import COMPARISONS, check, save_all, screen_for

    terminal = ctx.ensure_object(Terminal)
    form, outputs = ctx.params["form"], [Path.cwd() / path for path in ctx.params["outputs"]]
    named = [model for model in models if model != "vs"]
    comparison.check(named, align)
    screen = screen_for(form, outputs, COMPARISONS)
    check(outputs, form, COMPARISONS)
    only_saved = all(map(is_saved, named))
    if only_saved and ctx.params["config_file"] is not None:
        raise UsageError("RS103", "no name of a model is to be looked up: --config would do nothing")
    config = Config() if only_saved else _options.read_config(ctx)
    named = [config.subject(model) for model in named]
    if all(map(is_saved, named)):
        _options.refuse_idle(ctx, f"{' and '.join(named)} are")
    for number, model in enumerate(named):
        if not is_saved(model):
            with naming(number, model):
                _slips.check(ctx, model, config.models)
    probe = functools.partial(_probe, ctx, terminal, config.models)
    found = comparison.side_by_side(named, probe, align)
    text = screen.text(found, terminal.style(wide=False))
    save_all(found, outputs, name=form, of=COMPARISONS)
    terminal.result(text)


def _probe(
    ctx: click.Context,
    terminal: Terminal,
    aliases: Mapping[str, str],
    models: Sequence[tuple[int, Any]],
    saved: Subject | None,
) -> Iterable[tuple[int, Report, float | None]]:
    """Measure the models, with a bar on the screen; torch is loaded here."""
    flags = {section: _options.given(ctx, section) for section in ("Model", "Inputs", "Measuring")}
    if saved is not None:  # whose inputs go before those of the configuration
        kept = ["seed", *_defaults.typed(ctx, flags["Inputs"])]  # a seed is that of weights too
        flags["Inputs"] = {name: value for name, value in flags["Inputs"].items() if name in kept}
    _defaults.announce(ctx, terminal, flags)
    seed = {key: value for key, value in flags["Inputs"].items() if key == "seed"}
    with working(terminal) as progress:
        from rankscope.comparison.probing import Probing
        from rankscope.inputs import InputOptions
        from rankscope.pipeline import MeasureOptions
        from rankscope.sources import LoadOptions

        load = LoadOptions(**flags["Model"], **seed, aliases=aliases)
        options = InputOptions(**flags["Inputs"]), MeasureOptions(**flags["Measuring"])
        yield from Probing(None, load, *options, progress, terminal.notes)(models, saved)
