"""Slips that are told at once: what can be found wrong of a command line before torch, which takes seconds, is loaded.

What is let pass here is checked again, with all that torch knows, where the work is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankscope.cli import _options
from rankscope.declarations import constant
from rankscope.edits import check_edited
from rankscope.errors import InputError
from rankscope.registry import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import click


def check(ctx: click.Context, model: str, aliases: Mapping[str, str]) -> None:
    """Refuse a MODEL, a file or a name that is nowhere, and flags that no model could make right.

    Args:
        ctx: the context of a command with the sections Model and Inputs, and perhaps Measuring.
        model: MODEL.
        aliases: names of models from the configuration.
    """
    flags = {part: _options.given(ctx, part) for part in ("Model", "Inputs", "Measuring")}
    check_edited(model, flags["Model"], aliases)
    _check_inputs(flags["Inputs"])
    _check_measuring(flags["Measuring"])


def _check_inputs(flags: Mapping[str, Any]) -> None:
    """Refuse files of inputs that are not there."""
    for name, what in (("input", "the inputs {} were not read"), ("text", "the text {} was not read")):
        path: Path | None = flags.get(name)
        if path is not None and not path.exists():
            look = [("Look", f"ls {path.parent}")] if path.parent.is_dir() else []
            raise InputError("RS204", f"{what.format(path)}: no such file", remedies=look)


def _check_measuring(flags: Mapping[str, Any]) -> None:
    """Refuse names that no measure and no loss has."""
    from rankscope.explanations import measure_names, presets

    known = [*presets(), *measure_names()]
    for name in flags.get("measures", ()):
        if name not in known:
            error = unknown_name("measure", name, known, command="rankscope explain")
            raise error
    loss = flags.get("loss")
    losses = constant("capture/losses.py", "LOSSES")
    if loss is not None and loss not in losses and ":" not in loss:
        error = unknown_name("loss", loss, [*losses, "package.module:function"])
        raise error
