"""Markdown as GitHub reads it, of untrusted texts.

A character that Markdown or HTML gives a meaning becomes a numeric entity, a name that holds none stands in a code
span, and an ``@`` is followed by a zero-width space, so that it mentions nobody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Sequence

_SPECIAL = re.compile(r"[\\`*\[\]<>&|~#!$@]|(?<!\w)_|_(?!\w)")
_TAME = re.compile(r"\w|\w[\w./ -]*\w")


def text(untrusted: str) -> str:
    """A text in which nothing is markup.

    Args:
        untrusted: one printable line.

    Returns:
        Markdown.

    Example:
        >>> text("a*b*")
        'a&#42;b&#42;'
    """
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};" + "&#8203;" * (found[0] == "@"), untrusted)


def name(untrusted: str) -> str:
    """An identifier in a code span, if it is one.

    Args:
        untrusted: a name.

    Returns:
        Markdown.
    """
    shown = display_name(untrusted)
    return f"`{shown}`" if _TAME.fullmatch(shown) else text(shown)


def line(cells: Sequence[str]) -> str:
    """A line of a table.

    Args:
        cells: Markdown.

    Returns:
        The line.
    """
    return f"| {' | '.join(cells)} |"
