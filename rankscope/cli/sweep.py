"""`rankscope sweep MODEL`: one report for every value of an edit, of options of the zoo, of seeds or checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rankscope.cli import _complete, _defaults, _options, _slips
from rankscope.cli._command import Command, Option
from rankscope.cli._progress import working
from rankscope.cli._terminal import Terminal
from rankscope.errors import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rankscope.sweeps import Point, Sweep
    from rankscope.sweeps.keeping import Kept
    from rankscope.sweeps.searches import Search
    from rankscope.sweeps.spots import Asked

_HELP = """Measure MODEL at every value of an edit, or of options of the zoo, on the same inputs; draw the curve.

\b
rankscope sweep lambda-skip --edit 'lambda_skip=-20:20:9' -o sweep.html
rankscope sweep model.pt --edit 'drop@*'
rankscope sweep model.pt --edit 'lambda_skip=1:20:5' --until 'mu_bar >= 0.3 @ last'
rankscope sweep zoo:transformer --over depth=2:24:4 --over seed=0:2
rankscope sweep a.pt b.pt c.pt

A range is START:STOP:COUNT, both ends included, or START:STOP of whole numbers; a list has commas. An edit without a
range is taken at one of its layers after the other, and the layers are ranked by what that does. Two things swept give
every combination. A run that was interrupted goes on from the first .json or folder among its outputs. --until searches
the value that is nearest to the unedited model and keeps the rule: the exit code is 1 where there is none.
"""


def _outputs(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[Path, ...]:
    """Files and folders; a folder ends with a slash, or is there already."""
    if "-" in texts:
        told = "'-' is no file: standard output has the result anyway, in the form that --format names"
        raise click.BadParameter(told, param=parameter)
    folders = [text for text in texts if text.endswith("/") or Path(text).is_dir()]
    ctx.meta["folders"] = tuple(Path.cwd() / text for text in folders)
    return tuple(Path.cwd() / text for text in texts if text not in folders)


@click.command("sweep", cls=Command, group="measure", place=3, help=_HELP, short_help="One report for every value.")
@click.argument("models", metavar="MODEL...", nargs=-1, shell_complete=_complete.models)
@click.option(
    "--edit",
    cls=Option,
    section="What changes",
    multiple=True,
    metavar="EDIT",
    help="lambda_skip=-20:20:9; repeatable.",
)
@click.option(
    "--over",
    cls=Option,
    section="What changes",
    multiple=True,
    metavar="NAME=VALUES",
    help="An option of zoo:NAME, or seed: depth=2:24:4; repeatable.",
)
@click.option(
    "--until",
    cls=Option,
    section="What changes",
    metavar="RULE",
    help="Search the smallest edit that keeps 'mu_bar >= 0.3 @ last'.",
)
@click.option(
    "--per-layer", is_flag=True, cls=Option, section="What changes", help="With --until: a value for every layer too."
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    cls=Option,
    section="What changes",
    metavar="N",
    help="Processes, which share the threads (1).",
)
@click.option(
    "--fresh", is_flag=True, cls=Option, section="What changes", help="Measure all anew; take nothing from the outputs."
)
@_options.model
@_options.inputs
@_options.measuring
@_options.results(
    "Write the sweep, or a report a point to DIR/",
    "json, csv, md, html",
    "Every point and every measure, whatever the width.",
    type=str,
    callback=_outputs,
    metavar="FILE|DIR/",
)
@_options.config
@click.pass_context
def command(ctx: click.Context, /, models: tuple[str, ...], **given: Any) -> int:
    """Read what is swept, measure, write the outputs, show."""
    from rankscope.renderers import SWEEPS, check, save_all, screen_for
    from rankscope.sweeps.keeping import Kept
    from rankscope.sweeps.searches import search_of
    from rankscope.sweeps.spots import asked

    terminal = ctx.ensure_object(Terminal)
    form, outputs = ctx.params["form"], list(ctx.params["outputs"])
    screen = screen_for(form, [*outputs, *ctx.meta["folders"]], SWEEPS)
    check(outputs, form, SWEEPS)
    aliases = _options.read_config(ctx).models
    wanted = asked([aliases.get(model, model) for model in models], given["edit"], given["over"])
    search = search_of(wanted, given["until"], given["per_layer"])
    for model in wanted.models:
        _slips.check(ctx, model, aliases)
    kept = [Kept(folder, folder=True) for folder in ctx.meta["folders"]]
    kept += [Kept(path, folder=False) for path in outputs if path.suffix.lower() == ".json"]
    for place in kept:
        place.check()
    found = _swept(ctx, terminal, (wanted, search), kept, aliases)
    text = screen.text(found, terminal.style(wide=False))
    save_all(found, outputs, name=form, of=SWEEPS)
    terminal.result(text)
    insist(found)
    return 1 if found.until is not None and found.until.value is None and found.until.reference_keeps != "ok" else 0


def _swept(
    ctx: click.Context,
    terminal: Terminal,
    wanted: tuple[Asked, Search | None],
    kept: list[Kept],
    aliases: Mapping[str, str],
) -> Sweep:
    """Run the sweep behind a bar, with a line for each point; torch is loaded here."""
    flags = {section: _options.given(ctx, section) for section in ("Model", "Inputs", "Measuring")}
    _defaults.announce(ctx, terminal, flags)
    seed = {key: value for key, value in flags["Inputs"].items() if key == "seed"}
    with working(terminal) as progress:
        from rankscope.inputs import InputOptions
        from rankscope.pipeline import MeasureOptions, check_options
        from rankscope.sources import LoadOptions
        from rankscope.sweeps import planned
        from rankscope.sweeps.measuring import Measuring
        from rankscope.sweeps.running import Running

        gathering, options = InputOptions(**flags["Inputs"]), MeasureOptions(**flags["Measuring"])
        plan, options = planned(options, wanted[1], ctx.params["jobs"])
        check_options(options, gathering)
        plan = replace(plan, kept=tuple(kept), fresh=ctx.params["fresh"], tell=teller(terminal))
        load = LoadOptions(**flags["Model"], **seed, aliases=aliases)
        return Running(wanted[0], Measuring(None, load, gathering, options, progress, terminal.notes), plan)()


def teller(terminal: Terminal) -> Callable[[Point, int, int], None]:
    """What says of every point that it is done.

    Args:
        terminal: where it is said, unless the user wants quiet.

    Returns:
        A function of the point, its number, and how many were asked for.
    """
    from rankscope.sweeps.words import line_of

    def tell(point: Point, number: int, total: int) -> None:
        if not terminal.quiet:
            count = "" if point.origin == "reference" else f"{number}/{total} " if number <= total else f"{number} "
            terminal.say(f"{count}{line_of(point)}")

    return tell


def insist(found: Sweep) -> None:
    """Fail where not one point could be measured, with the reasons.

    Args:
        found: what was swept.

    Raises:
        CannotMeasure: no point has a report.
    """
    if found.measured or not found.points:
        return
    reasons = list(dict.fromkeys(point.reason or "" for point in found.points))
    details = [("why", reason) for reason in reasons[:3]]
    raise CannotMeasure("RS477", f"none of {len(found.points)} points could be measured", details=details)
