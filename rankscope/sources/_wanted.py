"""The refusal of a file that asks to import code: what it wants, and every way to its model, the risky one last."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.errors import LoadError
from rankscope.formats import SAVE_WEIGHTS, Kind
from rankscope.formats._stock_names import harmful, is_users
from rankscope.records import display_name
from rankscope.sources._trust import command

if TYPE_CHECKING:
    from collections.abc import Collection
    from io import BufferedReader

    from rankscope.sources import LoadOptions

_LISTED = 8


@dataclass(frozen=True, slots=True)
class Wants:
    """Dotted names that may not be built, the class of the outermost object, and how many more names are allowed."""

    names: frozenset[str]
    root: str | None = None
    allowed: int = 0


def asks_for_code(
    wants: Wants, file: BufferedReader, name: str, kind: Kind, options: LoadOptions | None = None
) -> LoadError:
    """The error for a file that names classes or functions which may not be built.

    Args:
        wants: what it names.
        file: the file, for its checksum.
        name: the file in the user's words.
        kind: what it is.
        options: how it is read now; the remedies complete that command.

    Returns:
        The error, to be raised by the caller.
    """
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    details = [
        ("kind", f"{kind} holding pickled objects (sha256 {digest[:8]}…); nothing in it was run"),
        ("wants", listed(wants.names)),
    ]
    if wants.allowed:
        details.append(("allowed", f"{wants.allowed} more by --allow"))
    if kind is Kind.TORCH_LEGACY:
        details.append(("why", "of the old format, state dicts alone are read, and --allow does not reach it"))
    bad = harmful(wants.names)
    if bad:
        details.append(("beware", f"no model needs {listed(bad)}: the file may be made to do harm"))
    return LoadError(
        "RS301",
        f"{name} was not loaded: it asks to import code",
        details=details,
        remedies=[SAVE_WEIGHTS] if bad else _ways(wants, kind, name, options),
    )


def _ways(wants: Wants, kind: Kind, name: str, options: LoadOptions | None) -> list[tuple[str, str]]:
    """The ways to the model of a file that asks for code, the safest first."""
    users = sorted(filter(is_users, wants.names))
    scripted = any(user.startswith("__main__.") for user in users)
    whole = options is not None and options.weights is not None and wants.root is not None and is_users(wants.root)
    typed = command(name, None if whole else options)  # a whole module brings its own factory
    remedies = []
    if users and len(users) == len(wants.names) and kind is not Kind.TORCH_LEGACY:
        fresh = sorted({_pattern(user) for user in users})
        typed_before = [text for text in (options.allow if options else ()) if not _same_package(text, users)]
        flags = " ".join(f"--allow {shlex.quote(pattern)}" for pattern in [*typed_before, *fresh])
        remedies.append(("If these are your classes", f"{typed} {flags}"))
    if options is None or options.weights is None:
        remedies += [SAVE_WEIGHTS, ("Safer, no pickled code", _factory(users, wants.root, options))]
    else:
        remedies.append(SAVE_WEIGHTS)
    script = f" --allow {shlex.quote(_pattern('__main__'))}" if scripted else ""
    return [*remedies, ("Runs any code in the file", f"{typed} --trust{script}")]


def listed(names: Collection[str]) -> str:
    """Up to eight names from a file, made safe to print.

    Args:
        names: all of them.

    Returns:
        The first in alphabetical order.

    Example:
        >>> listed({"b.Net", "a.Net"})
        'a.Net, b.Net'
    """
    shown = ", ".join(display_name(each) for each in sorted(names)[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"


def _factory(users: list[str], root: str | None, options: LoadOptions | None) -> str:
    """How the class is given with the weights: that of ``--arch``, the outermost, the only one, or a choice."""
    if options is not None and options.arch:
        return f"rankscope probe weights.pt --arch {options.arch}"
    targets = [_target(root)] if root and is_users(root) else [_target(user) for user in users]
    if len(targets) < 2:
        return f"rankscope probe {targets[0] if targets else 'yourmodule:Net'} --weights weights.pt"
    return f"rankscope probe MODULE:CLASS --weights weights.pt, with one of {listed(targets)}"


def _target(name: str) -> str:
    module, _, last = name.rpartition(".")
    return f"{'yourscript.py' if module == '__main__' else module}:{last}"


def _pattern(name: str) -> str:
    top = name.partition(".")[0]
    return "__main__.*=yourscript.py" if top == "__main__" else f"{top}.*"


def _same_package(pattern: str, users: list[str]) -> bool:
    """Whether a pattern is about a package that a wider one is proposed for."""
    return pattern.partition(".")[0] in {user.partition(".")[0] for user in users}
