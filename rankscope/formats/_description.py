"""The record of what a file is, and the words in which it says so."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from rankscope.errors import LoadError
    from rankscope.formats._kinds import Kind

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Description:
    """What a file or directory is.

    `size` is in bytes, that of a directory the sum of the files directly in it; `facts` are pairs (label, text), ready
    to print; `imports` are the names that its pickle would import beyond those of torch itself; `loads` says how it can
    be opened: ``"without a flag"``, ``"with --arch"``, ``"with --allow 'pkg.*'"``, ``"with --trust"``, some of them
    joined by ``" and "``, or ``"not at all"``. `problem` says what is wrong or in the way, under `code`, and `remedies`
    (label, text) what to do, the safest first.
    """

    kind: Kind
    size: int
    facts: tuple[tuple[str, str], ...] = ()
    imports: tuple[str, ...] = ()
    loads: str = "not at all"
    problem: str | None = None
    code: str | None = None
    remedies: tuple[tuple[str, str], ...] = ()

    def blocked(self, error: LoadError, loads: str = "not at all") -> Description:
        """The description with what is in the way.

        Args:
            error: what opening it would raise.
            loads: how it loads in spite of that.

        Returns:
            A new description.
        """
        _, colon, why = error.headline.partition(" was not loaded: ")
        return dataclasses.replace(
            self, problem=why if colon else error.headline, code=error.code, remedies=error.remedies, loads=loads
        )


def listed(names: Collection[str], most: int = _SHOWN) -> str:
    """The first few names from a file, made safe to print.

    Args:
        names: all of them.
        most: how many to print.

    Returns:
        One line.

    Example:
        >>> listed("abcdefghij", 3)
        'a, b, c and 7 more'
    """
    shown = ", ".join(display_name(name) for name in list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def many(count: int) -> str:
    """A number with its thousands apart.

    Args:
        count: any whole number.

    Returns:
        Such as ``"124,439,808"``.
    """
    return f"{count:,}"
