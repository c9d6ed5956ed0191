"""The terminal: the result on standard output, and notes, warnings and errors on standard error."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import textwrap
import traceback
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

import click

from rankscope.errors import RankscopeError, RankscopeWarning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rankscope.records import Note
    from rankscope.renderers import Style

_CODE_COLUMN = 80
_LINE = 98


class NoOutput(Exception):  # noqa: N818 - often no error: the reader of a pipe has seen enough
    """Standard output cannot be written."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(slots=True)
class Terminal:
    """What the user asked of the screen, set by the options as they are read."""

    color: str = "auto"
    debug: bool = False
    quiet: bool = False
    verbose: bool = False
    progress: bool = True
    announced: list[str] = field(default_factory=list)

    def colors(self, stream: TextIO) -> bool:
        """Whether a stream gets colours: `--color` beats NO_COLOR beats what the stream is.

        Args:
            stream: standard output or standard error.

        Returns:
            True for colours.
        """
        if self.color != "auto":
            return self.color == "always"
        return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()

    def style(self, wide: bool) -> Style:
        """What standard output can show."""
        from rankscope.renderers import Style

        return Style(
            columns=shutil.get_terminal_size((80, 24)).columns,
            color=self.colors(sys.stdout),
            unicode=_speaks_unicode(sys.stdout),
            wide=wide,
            every=self.verbose,
            # In one place a note is read once; where only the result goes, the report stands for itself.
            announced=frozenset(self.announced if _one_place(sys.stdout, sys.stderr) else ()),
            notes=not self.quiet,
        )

    def result(self, text: str) -> None:
        """Write the result to standard output.

        Args:
            text: the whole of it.

        Raises:
            NoOutput: the reader went away, or the disk behind it is full.
        """
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            raise NoOutput(error) from error

    def say(self, text: str, label: str = "", color: str = "yellow") -> None:
        """Write a line to standard error.

        Args:
            text: what to say; control characters are replaced.
            label: a word before it.
            color: of the label.
        """
        start = f"{click.style(label, fg=color, bold=True) if self.colors(sys.stderr) else label}: " if label else ""
        sys.stderr.write(f"{start}{_printable(text)}\n")
        sys.stderr.flush()

    def notes(self, notes: Iterable[Note]) -> None:
        """Announce notes, unless the user wants quiet."""
        for note in notes:
            if not self.quiet:
                self.announced.append(note.text)
                self.say(f"{note.text} [{note.code}]", "note", "cyan")

    def tell(self, error: RankscopeError, cause: BaseException | None = None) -> int:
        """Write an error to standard error; the traceback only under --debug.

        Args:
            error: what to tell.
            cause: what was raised.

        Returns:
            The exit code of the error.
        """
        with contextlib.suppress(OSError):
            if self.debug and cause is not None:
                traceback.print_exception(cause)
            sys.stderr.write(form(error, self.colors(sys.stderr)))
            sys.stderr.flush()
        return error.exit_code

    @contextlib.contextmanager
    def warnings(self) -> Iterator[None]:
        """Show warnings as one line on standard error, those of rankscope in its own words."""

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            own = issubclass(category, RankscopeWarning)
            if not self.quiet:
                first = str(message).strip().partition("\n")[0]
                self.say(first if own else f"{first} ({category.__name__})", "warning")

        with warnings.catch_warnings():
            if not self.debug:
                warnings.showwarning = show
            yield


def _one_place(here: TextIO, there: TextIO) -> bool:
    """Whether two streams lead to the same screen, file or pipe."""
    try:
        return os.path.samestat(os.fstat(here.fileno()), os.fstat(there.fileno()))
    except (OSError, ValueError):  # a stream that is no file of the system
        return False


def _speaks_unicode(stream: TextIO) -> bool:
    try:
        "▁█—≤→²".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _printable(text: str) -> str:
    """Text with lines, but without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _folded(text: str, width: int) -> list[str]:
    """Lines of a text, the long ones folded between words."""
    return [
        part
        for line in text.split("\n")
        for part in textwrap.wrap(line, max(width, 20), break_long_words=False, break_on_hyphens=False) or [""]
    ]


def form(error: RankscopeError, color: bool = False) -> str:
    """An error as it is shown: what was attempted and what is wrong, the facts, and the next steps, the safest first.

    Args:
        error: any error of rankscope.
        color: with colours.

    Returns:
        Lines, the last with its line end.

    Example:
        >>> from rankscope.errors import UsageError
        >>> print(form(UsageError("RS102", "no such option", details=[("did you mean", "--seed")])), end="")
        error: no such option                                                    [RS102]
          did you mean  --seed
    """

    def paint(text: str, **style: Any) -> str:
        return click.style(text, **style) if color else text

    headline = _printable(error.headline)
    gap = max(2, _CODE_COLUMN - len(f"error: {headline}".rpartition("\n")[2]) - len(error.code) - 2)
    lines = [f"{paint('error:', fg='red', bold=True)} {headline}{' ' * gap}{paint(f'[{error.code}]', dim=True)}"]
    details = [(_printable(label).rstrip(":"), _printable(text)) for label, text in error.details]
    remedies = [(_printable(label).rstrip(":") + ":", _printable(text)) for label, text in error.remedies]
    for pairs in (details, remedies):
        width = max((len(label) for label, _ in pairs), default=0) + 2
        for label, text in pairs:
            # A fact may be a long list; a next step stays on one line, to be copied.
            parts = text.split("\n") if pairs is remedies else _folded(text, _LINE - width)
            lines.append(f"  {paint(label.ljust(width), bold=True)}{parts[0]}".rstrip())
            lines += [f"  {' ' * width}{part}" for part in parts[1:]]
    return "\n".join(lines) + "\n"
