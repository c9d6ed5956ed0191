"""``--allow``: the user's own classes in a pickle, still through torch's restricted unpickler.

A pattern chooses among the names that the file itself asks for; only those are imported. The user's own code runs at
import, the file's never does: classes alone are accepted, and what the file fills them with is data.
"""

from __future__ import annotations

import dataclasses
import enum
import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rankscope.errors import LoadError
from rankscope.formats import SAVE_WEIGHTS
from rankscope.records import display_name
from rankscope.user_code import locate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rankscope.specs import Pattern


def covered(wanted: Iterable[str], chosen: Iterable[Pattern]) -> dict[str, Pattern]:
    """Which of the names that a file asks for the patterns cover; nothing is imported.

    Args:
        wanted: dotted names.
        chosen: the patterns of the user.

    Returns:
        The names, each with the first pattern that covers it.

    Example:
        >>> from rankscope.specs import patterns
        >>> list(covered(["a.Net", "b.Net"], patterns(["a.*"])))
        ['a.Net']
    """
    pairs = {name: next((p for p in chosen if _covers(p, name)), None) for name in sorted(wanted)}
    return {name: pattern for name, pattern in pairs.items() if pattern}


def _covers(pattern: Pattern, name: str) -> bool:
    """Whether a pattern means a name; one that is not dotted identifiers could name a file beside the model."""
    parts = name.split(".")
    # the import of package.__main__ starts the program of the package
    sound = all(map(str.isidentifier, parts)) and "py" not in parts and "__main__" not in parts[1:]
    return sound and fnmatch.fnmatchcase(name, pattern.glob)


def resolve(names: dict[str, Pattern], file: str) -> dict[str, type]:
    """Import the classes that the patterns allow.

    Args:
        names: those that `covered` gave.
        file: the file that asks for them, in the user's words.

    Returns:
        The name in the pickle, and the class.

    Raises:
        LoadError: one cannot be imported, or is no class of modules, enums or dataclasses.
    """
    found = {name: _import(name, pattern, file) for name, pattern in names.items()}
    refused = [(display_name(name), why) for name, value in found.items() if (why := _refusal(value, names[name]))]
    if refused:
        raise LoadError(
            "RS362",
            f"{file} was not loaded: --allow reaches modules, enums and dataclasses alone",
            details=refused,
            remedies=[SAVE_WEIGHTS, ("Runs any code in the file", f"rankscope probe {file} --trust")],
        )
    return found


def _import(name: str, pattern: Pattern, file: str) -> Any:
    """The object of a name, from the user's packages, the current directory or the script."""
    module, _, last = name.rpartition(".")
    target = f"{pattern.script}:{last}" if pattern.script and module == "__main__" else f"{module}:{last}"
    try:
        return locate(target, LoadError, "RS363")
    except LoadError as error:
        raise LoadError(
            "RS363",
            f"{file} was not loaded: its class {display_name(name)} cannot be had",
            details=[("why", error.headline), *error.details],
            remedies=[
                ("Run where it can be imported", "the current directory is searched last"),
                ("Or say where it lies now", "rankscope probe yourmodule:Net --weights weights.pt"),
            ],
        ) from error


def _refusal(value: Any, pattern: Pattern) -> str | None:
    """Why an object is not one that a file may build, or None."""
    if not isinstance(value, type):
        return "it is no class; a file that names functions is loaded with --trust alone"
    if issubclass(value, torch.jit.ScriptModule):
        return "it is TorchScript, whose layers take no hooks"
    home = f"_rankscope_file_{Path(pattern.script).stem}" if pattern.script else pattern.glob.partition(".")[0]
    if value.__module__.partition(".")[0] != home:
        return f"it is a class of {display_name(value.__module__)}, which its package imports and which was not allowed"
    if issubclass(value, nn.Module | enum.Enum) or dataclasses.is_dataclass(value):
        return None
    return "it is a class of another sort, which may do anything when it is built"
