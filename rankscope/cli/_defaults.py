"""Defaults of options from the configuration; the command line wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rankscope.cli._command import Option
from rankscope.config import from_here
from rankscope.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rankscope.cli._terminal import Terminal
    from rankscope.config import Config

_SECTIONS = {"Model", "Inputs", "Layers", "Measuring"}
_SOURCES = {"input", "random", "text", "inputs"}  # each of them names all the inputs of a run
_OF_A_SOURCE = {*_SOURCES, "text_field", "tokenizer"}


def typed(ctx: click.Context, names: Iterable[str]) -> list[str]:
    """Those options that stand on the command line.

    Args:
        ctx: the context of a command.
        names: of options.

    Returns:
        Names, in the same order.
    """
    return [name for name in names if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]


def apply(ctx: click.Context, config: Config) -> None:
    """Give options of models, inputs and measures that were not typed the value that the configuration gives.

    Args:
        ctx: the context of a command; its parameters are changed.
        config: what the file says.
    """
    skipped = _OF_A_SOURCE if typed(ctx, _SOURCES) else set()
    for option in ctx.command.params:
        name = str(option.name)
        if not isinstance(option, Option) or option.section not in _SECTIONS or name in skipped:
            continue
        if name in config.settings and not typed(ctx, [name]):
            ctx.params[name] = _value(ctx, option, config)


def announce(ctx: click.Context, terminal: Terminal, flags: Mapping[str, Mapping[str, Any]]) -> None:
    """Say which of the options that are used come from the configuration.

    Args:
        ctx: the context of a command.
        terminal: where it is said, unless the user wants quiet.
        flags: the options that are used, by section.
    """
    used = [name for given in flags.values() for name in given]
    taken = [name.replace("_", "-") for name in used if name not in typed(ctx, used)]
    if taken and not terminal.quiet:
        terminal.say(f"from the configuration: {', '.join(taken)} (--no-config reads none)", "note", "cyan")


def _value(ctx: click.Context, option: Option, config: Config) -> Any:
    """What the configuration gives, read as the option reads it."""
    name = str(option.name)
    value = config.settings[name]
    several = option.multiple or name == "measures"
    texts = [value] if isinstance(value, str) else value
    if isinstance(option.type, click.IntRange):
        fits, expected = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif option.is_flag:
        fits, expected = isinstance(value, bool), "true or false"
    elif several:
        fits = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        expected = "text or a list of texts"
    else:
        fits, expected = isinstance(value, str), "text"
    where = f"{config.path}: {name.replace('_', '-')}"
    flag = [("What it takes", f"{ctx.command_path} --help")]
    if not fits:
        raise UsageError("RS105", f"{where}: {expected} is expected, not {value!r}", remedies=flag)
    if several:
        value = tuple(texts) if option.multiple else ",".join(texts)
    elif isinstance(option.type, click.Path) and config.path is not None:
        value = from_here(config.path.parent, value)
    try:
        return option.process_value(ctx, value)
    except click.BadParameter as error:
        raise UsageError("RS105", f"{where}: {error.message}", remedies=flag) from error
