"""The screen: what every text for people is set on, as wide as the terminal, in ASCII where that is all it has."""

from __future__ import annotations

import io
import os
import re
from typing import TYPE_CHECKING, Literal

from rich.box import Box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rankscope.renderers import Style

_LEAST_WIDTH = 40  # below it the terminal folds the lines
_HEAD = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
_ASCII_HEAD = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
# What this package itself writes beyond ASCII; what a model's names hold is left to the encoding of the stream.
_SPELT = str.maketrans(
    dict(zip("–−·—…×", ("-", "-", "-", "--", "...", "x"), strict=True))
    | dict(zip("≤≥≠≈→∈∞", ("<=", ">=", "!=", "~", "->", "in", "inf"), strict=True))
    | dict(zip("‖∂√§", ("|", "d", "sqrt", "par."), strict=True))
    | dict(zip("λμσγρΣΔδ", ("lambda", "mu", "sigma", "gamma", "rho", "sum", "delta", "delta"), strict=True))
    | dict(zip("επφτ", ("eps", "pi", "phi", "tau"), strict=True))
    | dict(zip("²³⁴⁻ᵀ", ("^2", "^3", "^4", "^-", "^T"), strict=True))
)


def spell(text: str) -> str:
    """A text for a screen that knows ASCII only.

    Args:
        text: any text.

    Returns:
        The text without the signs of this package.
    """
    return text.translate(_SPELT)


def plain(text: object) -> str:
    """A text made one printable line, of any length (names of layers are cut by `display_name` itself).

    Args:
        text: untrusted.

    Returns:
        The line.
    """
    words = str(text)
    return "".join(display_name(words[i : i + 200]) for i in range(0, len(words), 200))


def raised(number: int, unicode: bool) -> str:
    """The sign of a footnote.

    Args:
        number: from 1 on.
        unicode: whether the reader's screen has raised digits.

    Returns:
        Raised digits, or digits in brackets.
    """
    return str(number).translate(_SUPERSCRIPT) if unicode else f"[{number}]"


def folded(text: str, width: int) -> str:
    """A name in lines that end behind a separator where they can, and are never wider than their column.

    Args:
        text: one printable line.
        width: of the column.

    Returns:
        The lines.

    Example:
        >>> folded("blocks.0.input", 11).splitlines(), folded("effective_rank_unit", 10).splitlines()
        (['blocks.0.', 'input'], ['effective_', 'rank_unit'])
    """
    lines = [""]
    for part in re.findall(r"[^._:/ -]*[._:/ -]?", text):
        if part and lines[-1] and Text(lines[-1] + part).cell_len > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def common_prefix(names: Sequence[str], most: int) -> str:
    """What all names of layers begin with, up to a dot, where they are too long; the title says it once.

    Args:
        names: printable names.
        most: signs that there is room for.

    Returns:
        The beginning with its dot, or nothing.
    """
    common = os.path.commonprefix(list(names)).rpartition(".")[0]  # noqa: RUF071 - characters are meant; then up to a dot
    return f"{common}." if common and max(map(len, names)) > most else ""


class Screen:
    """A page that is written line by line and read back as text.

    Args:
        style: what the reader's screen can show.
    """

    def __init__(self, style: Style) -> None:
        self.style = style
        self._page = io.StringIO()
        self.console = Console(
            file=self._page,
            width=max(style.columns, _LEAST_WIDTH),
            force_terminal=style.color,
            color_system="standard" if style.color else None,
            no_color=not style.color,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )

    @property
    def width(self) -> int:
        """Columns of the screen."""
        return self.console.width

    @property
    def times(self) -> str:
        """The sign between two sizes."""
        return "×" if self.style.unicode else "x"

    def line(self, text: str | Text = "", style: str = "") -> None:
        """Write a line; it is folded where the screen ends.

        Args:
            text: untrusted names in it have been made safe.
            style: its colour.
        """
        self.console.print(Text(text, style=style) if isinstance(text, str) else text)

    def pairs(self, pairs: Iterable[tuple[str, str]], label: str = "bold", indent: int = 0) -> None:
        """Write lines of a label and a text that is folded, never cut.

        Args:
            pairs: the label, and its text.
            label: the style of the labels.
            indent: blanks before the labels.
        """
        lines = list(pairs)
        if not lines:
            return
        grid = Grid.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, style=label)
        grid.add_column(overflow="fold")
        for name, text in lines:
            grid.add_row(Text(" " * indent + name), Text(text))
        self.console.print(grid)

    def steps(self, steps: Iterable[tuple[str, str]]) -> None:
        """Write next steps; each stays on one line, to be copied.

        Args:
            steps: what to do, and how.
        """
        lines = [(plain(label).rstrip(":") + ":", plain(text)) for label, text in steps]
        width = max((len(label) for label, _ in lines), default=0)
        for label, text in lines:
            line = Text("  ").append(label.ljust(width), style="bold").append(f"  {text}")
            self.console.print(line, soft_wrap=True)

    def grid(self, headings: Sequence[tuple[str, str]]) -> Grid:
        """A table with a ruled heading, to be filled and written by `console.print`.

        Args:
            headings: the text of each heading, and how its column is aligned: ``left``, ``right`` or ``fold``.

        Returns:
            The table.
        """
        box = _HEAD if self.style.unicode else _ASCII_HEAD
        grid = Grid(box=box, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for text, align in headings:
            justify: Literal["left", "right"] = "right" if align == "right" else "left"
            grid.add_column(Text(text), justify=justify, no_wrap=align != "fold", overflow="fold")
        return grid

    def mark(self, number: int) -> str:
        """The sign of a footnote.

        Args:
            number: from 1 on.

        Returns:
            Raised digits, or digits in brackets.
        """
        return raised(number, self.style.unicode)

    def text(self) -> str:
        """All that was written.

        Returns:
            Lines; without colours none ends in a blank.
        """
        text = self._page.getvalue()
        # Grids fill their lines with blanks, which a file or a pipe need not carry.
        text = text if self.style.color else "".join(f"{line.rstrip()}\n" for line in text.splitlines())
        return text if self.style.unicode else spell(text)
