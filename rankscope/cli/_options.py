"""Options in sections, shared by the commands. The name of a parameter is the name of the field it fills."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rankscope.cli import _complete, _defaults
from rankscope.cli._command import Option
from rankscope.cli._terminal import Terminal
from rankscope.config import Config, find, read
from rankscope.errors import UsageError
from rankscope.memory import size

if TYPE_CHECKING:
    from collections.abc import Callable

_F = TypeVar("_F", bound="Callable[..., Any]")
_FILE = click.Path(path_type=Path, readable=False)  # who opens it tells an unreadable file as it tells a missing one
_COUNT = click.IntRange(min=1)
_COUNT.name = "whole number"


def _section(name: str, *options: tuple[tuple[str, ...], dict[str, Any]]) -> Callable[[_F], _F]:
    """A decorator that adds options to a command, in the order they are given."""

    def add(function: _F) -> _F:
        for names, settings in reversed(options):
            function = click.option(*names, cls=Option, section=name, **settings)(function)
        return function

    return add


def _option(*names: str, **settings: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return names, settings


def given(ctx: click.Context, section: str) -> dict[str, Any]:
    """The options of a section that were given, by the name of the field each fills.

    Args:
        ctx: the context of a command.
        section: such as ``"Inputs"``.

    Returns:
        What was given; what was not keeps the default of its field.
    """
    names = [p.name for p in ctx.command.params if isinstance(p, Option) and p.section == section and p.expose_value]
    found = {name: ctx.params[name] for name in names if name}
    return {name: value for name, value in found.items() if value is not None and value is not False and value != ()}


def refuse_idle(ctx: click.Context, measured: str) -> None:
    """Refuse options of models where there is none to measure.

    Args:
        ctx: the context of a command with the sections Model, Inputs and Measuring.
        measured: what is measured already, such as ``"a.json is"``.

    Raises:
        UsageError: there are some.
    """
    names = [name for section in ("Model", "Inputs", "Measuring") for name in given(ctx, section)]
    flags = " ".join(f"--{name.replace('_', '-')}" for name in _defaults.typed(ctx, names))
    if flags:
        headline = f"{measured} measured already: {flags.replace(' ', ', ')} would do nothing"
        remedies = [
            ("Leave out", flags),
            ("Or measure so, to a new file", f"rankscope probe MODEL {flags} … -o NEW.json"),
        ]
        raise UsageError("RS103", headline, remedies=remedies)


def read_config(ctx: click.Context) -> Config:
    """The configuration that holds for this run, with the options that were not typed set to what it says.

    Args:
        ctx: the context of a command with the options of `config`.

    Returns:
        What the file says, or an empty configuration.

    Raises:
        UsageError: a file is given together with --no-config.
    """
    path: Path | None = ctx.params["config_file"]
    if path is not None and ctx.params["no_config"]:
        told = [("With it", f"--config {path}"), ("Without any", "--no-config")]
        raise UsageError("RS103", "--config and --no-config exclude each other", remedies=told)
    if ctx.params["no_config"]:
        return Config()
    found = read(path or find(Path.cwd()))
    _defaults.apply(ctx, found)
    return found


def _names(_: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """A comma-separated list."""
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise click.BadParameter("a list of names, with commas between them, is expected", param=parameter)
    return names


def _device(_: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise click.BadParameter(f"{text!r} is none of auto, cpu, cuda, cuda:N, mps", param=parameter)
    return text


def _bytes(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    return None if text is None else size(text)


def _outputs(_: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    if Path("-") in paths:
        told = "'-' is no file: standard output has the result anyway, in the form that --format names"
        raise click.BadParameter(told, param=parameter)
    return paths


def _kept(name: str, invert: bool = False) -> dict[str, Any]:
    """Settings of an option that concerns the screen."""

    # It is read before the others and kept in the terminal, where `main` finds it also when the command fails.
    def keep(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        setattr(ctx.ensure_object(Terminal), name, not value if invert else value)

    return {"callback": keep, "expose_value": False, "is_eager": True}


model = _section(
    "Model",
    _option("--arch", metavar="MOD:FACTORY", help="The architecture of a file that holds weights only."),
    _option("--weights", type=_FILE, metavar="FILE", help="Weights for a factory, loaded strictly."),
    _option("--strip-prefix", metavar="TEXT", help="Take this off the names of the weights, such as 'module.'."),
    _option("--init-only", is_flag=True, help="Measure random weights, on purpose."),
    _option("--allow", multiple=True, metavar="PATTERN", help="Your own classes in a pickle: 'mypkg.*'; repeatable."),
    _option("--trust", is_flag=True, help="Let the file run code while it is loaded."),
    _option("--trust-sha256", metavar="HEX", help="The same for the file of this checksum alone."),
    _option("--verify", is_flag=True, help="Check every byte of an archive for damage first."),
)
inputs = _section(
    "Inputs",
    _option("--input", type=_FILE, metavar="FILE", help="Arrays: .npz or .safetensors (by name), .npy, .pt."),
    _option("--random", multiple=True, metavar="SPEC", help="x=8x128x64 or ids=8x128:int64:0..50256; repeatable."),
    _option("--text", type=_FILE, metavar="FILE", help="A sequence a line; .jsonl with --text-field."),
    _option("--text-field", metavar="KEY", help="The field of a .jsonl file that holds the text."),
    _option("--tokenizer", type=_FILE, metavar="DIR", help="Default: the model's own; 'bytes' for bytes."),
    _option(
        "--inputs", metavar="MOD:CALL", help="A function that yields batches. Without any: inferred from the model."
    ),
    _option("--batches", type=_COUNT, metavar="N", help="The most batches to run."),
    _option("--batch-size", type=_COUNT, metavar="N", help="Sequences in a batch (8)."),
    _option("--max-tokens", type=_COUNT, metavar="N", help="The longest sequence (512)."),
    _option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", help="Of random inputs and weights (0)."),
    _option("--mask", metavar="KEY|none", help="The argument that marks padding."),
    _option("--mask-sense", type=click.Choice(["keep", "drop"]), help="What a true entry of the mask says."),
    _option(
        "--layout",
        type=click.Choice(["btd", "tbd", "bd", "bct", "bchw", "bhwc"]),
        metavar="NAME",
        help="Axes of the activations: btd, tbd, bd, bct, bchw or bhwc.",
    ),
)
_LAYERS = (
    _option("--layers", multiple=True, metavar="GLOB", help="Measure these modules; repeatable."),
    _option("--skip-layers", multiple=True, metavar="GLOB", help="Leave these out; repeatable."),
)
_PLACE = (
    _option("--device", callback=_device, metavar="NAME", help="auto, cpu, cuda, cuda:N or mps."),
    _option(
        "--dtype",
        type=click.Choice(["float32", "float64", "bfloat16", "float16"]),
        metavar="NAME",
        help="Run the model in float32, float64, bfloat16 or float16.",
    ),
)
layers = _section("Layers", *_LAYERS)
where = _section("Measuring", *_LAYERS, *_PLACE)  # of a command that has its own measures
measuring = _section(
    "Measuring",
    _option(
        "--measures",
        callback=_names,
        metavar="LIST",
        shell_complete=_complete.measures,
        help="quick (default), forward, full, or names: mu,mu_bar.",
    ),
    *_LAYERS,
    *_PLACE,
    _option("--loss", metavar="NAME", help="For gradients: auto, lm, ce, mse, cotangent or MOD:CALL."),
    _option("--grad-tokens", type=_COUNT, metavar="N", help="Tokens that the gradients are taken over (1024)."),
    _option(
        "--spectra",
        type=click.Choice(["auto", "gram64", "svd"]),
        metavar="NAME",
        help="How singular values are computed: auto, gram64 or svd.",
    ),
    _option(
        "--memory",
        callback=_bytes,
        metavar="SIZE",
        help="What rankscope may hold beside the model: 2GiB (half of what is free).",
    ),
)
_SCREEN = (
    _option("-q", "--quiet", is_flag=True, help="No progress and no notes on stderr.", **_kept("quiet")),
    _option("--no-progress", is_flag=True, help="No progress bar.", **_kept("progress", invert=True)),
    _option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        metavar="WHEN",
        help="auto (default), always or never; NO_COLOR is honoured.",
        **_kept("color"),
    ),
    _option("--debug", is_flag=True, help="Show the traceback of an error.", **_kept("debug")),
)


def results(
    written: str, formats: str, more: str, *others: tuple[tuple[str, ...], dict[str, Any]], **special: Any
) -> Callable[[_F], _F]:
    """Where the result of a command goes: to files, and in which form to the screen.

    Args:
        written: what `-o` does.
        formats: those beside the table.
        more: what `--verbose` shows.
        *others: further options.
        **special: settings of `-o` that differ.

    Returns:
        A decorator.
    """
    files = {"multiple": True, "type": _FILE, "callback": _outputs, "metavar": "FILE", **special}
    form = f"table (default), {formats}: for the screen, and files without a known suffix."
    return _section(
        "Output",
        _option("-o", "--output", "outputs", help=f"{written}; repeatable. The suffix names the format.", **files),
        _option("--format", "form", metavar="NAME", shell_complete=_complete.formats, help=form),
        *others,
        _option("-v", "--verbose", is_flag=True, help=more, **_kept("verbose")),
        *_SCREEN,
    )


_WIDE = _option("--wide", is_flag=True, help="CSV: a column a measure.")
output = results("Write the report", "json, jsonl, csv, md, html, parquet", "All columns, whatever the width.", _WIDE)
comparison = results("Write the comparison", "json, csv, md, html", "All layers and columns, whatever the width.")
certificate = results("Write the certificate", "json, csv, md, html", "All sequences, and all columns.")
findings = results("Write what was found", "json, junit (.xml), github, md or html", "Every number that does not hold.")
# For what is looked at and not kept.
page = _section(
    "Output",
    _option(
        "--format",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        metavar="NAME",
        help="table (default) or json.",
    ),
    *_SCREEN,
)
rules = _section(
    "Rules",
    _option(
        "--min", multiple=True, metavar="RULE", help="At least: mu_bar=0.05@last; repeatable, like the next three."
    ),
    _option("--max", multiple=True, metavar="RULE", help="At most: value_cosine=0.99."),
    _option("--max-drop", multiple=True, metavar="RULE", help="At most so far under the baseline: effective_rank=10%."),
    _option("--require", multiple=True, metavar="RULE", help="In quotes: 'min(effective_rank) >= 4 @ blocks.*'."),
    _option("--baseline", type=_FILE, metavar="FILE", help="What drops are counted from (rankscope-baseline.json)."),
    _option(
        "--update-baseline",
        type=click.Choice(["all", "improved"]),
        metavar="[=improved]",
        help="Record the baseline anew where the rules hold; or only what got better.",
    ),
    _option("--strict", is_flag=True, help="Rules of severity warn count too."),
)
config = _section(
    "Configuration",
    _option(
        "--config",
        "config_file",
        type=_FILE,
        metavar="FILE",
        help="Instead of the rankscope.toml or pyproject.toml found from here upwards.",
    ),
    _option("--no-config", is_flag=True, help="Read no configuration."),
)
