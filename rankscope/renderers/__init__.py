"""Renderers: a report turned into text, one file a format. Each only writes to a stream.

A module of this folder registers its format with `renderer`; `save` and `load` are the doors for files.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from rankscope.errors import CannotMeasure, UsageError
from rankscope.files import check_writable, write_whole
from rankscope.records import Report
from rankscope.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True, slots=True)
class Style:
    """How a reader wants the text.

    `columns` is the width of the screen; `color` and `unicode` say what it can show; `wide` asks for a column a
    measure (CSV); `every` for all columns where the screen has not the width for them side by side; notes whose text
    is in `announced` were shown already.
    """

    columns: int = 200
    color: bool = False
    unicode: bool = True
    wide: bool = False
    every: bool = False
    announced: frozenset[str] = frozenset()


class Write(Protocol):
    """Writes a report to a stream."""

    def __call__(self, report: Report, stream: TextIO, style: Style) -> None:
        """Write the whole report; nothing else is touched."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """An output format: the suffixes of its files and the function that writes it."""

    name: str
    suffixes: tuple[str, ...]
    write: Write

    def text(self, report: Report, style: Style | None = None) -> str:
        """The report in this format.

        Args:
            report: any report.
            style: what the reader can show.

        Returns:
            The whole text.
        """
        stream = io.StringIO()
        self.write(report, stream, style or Style())
        return stream.getvalue()


RENDERERS: Registry[Renderer] = Registry("output format", "rankscope.renderers")


def renderer(name: str, *suffixes: str) -> Callable[[Write], Write]:
    """Decorator: register a function as the writer of a format.

    Args:
        name: what `--format` calls it.
        suffixes: the suffixes of its files, such as ``".json"``.

    Returns:
        The decorator; the function stays as it is.
    """

    def register(write: Write) -> Write:
        RENDERERS.add(name, Renderer(name, suffixes, write))
        return write

    return register


def renderer_for(path: Path, name: str | None = None) -> Renderer:
    """The renderer of an output file: that of its suffix, else the named one.

    Args:
        path: the output file.
        name: the format for a file whose suffix says nothing.

    Returns:
        The renderer.

    Raises:
        UsageError: the suffix names no format, and no name is given.
    """
    for entry in RENDERERS.values():
        if path.suffix.lower() in entry.suffixes:
            return entry
    if name is not None:
        return RENDERERS[name]
    known = ", ".join(f"{suffix} ({entry.name})" for entry in RENDERERS.values() for suffix in entry.suffixes)
    headline = f"{path} was not written: its suffix names no output format"
    raise UsageError("RS604", headline, details=[("known", known)], remedies=[("Name the format", "--format json")])


def check(outputs: Iterable[Path], name: str | None = None) -> None:
    """Make sure that every output has a format and a place, before the long work.

    Args:
        outputs: the files that will be written.
        name: the format for files whose suffix says nothing.
    """
    for path in outputs:
        renderer_for(path, name)
        check_writable(path)


def save(report: Report, path: Path, wide: bool = False, name: str | None = None) -> None:
    """Write a report to a file; it appears whole or not at all.

    Args:
        report: any report.
        path: the file; its suffix chooses the format.
        wide: CSV with measures as columns.
        name: the format for a file whose suffix says nothing.
    """
    write_whole(path, renderer_for(path, name).text(report, Style(wide=wide)))


def load(path: str | Path) -> Report:
    """Read a report that was saved as JSON.

    Args:
        path: the file.

    Returns:
        The report, equal to the one that was saved.

    Raises:
        CannotMeasure: the file cannot be read, is no report, was cut short, or has another schema version.
    """
    path = Path(path)
    try:
        report = Report.from_json(path.read_text(encoding="utf-8"))
        _check_rows(report)
    except OSError as error:
        raise CannotMeasure("RS605", f"{path} was not read: {error.strerror or error}") from error
    except CannotMeasure as error:
        raise CannotMeasure(error.code, f"{path}: {error.headline}", details=_told(path)) from error
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        headline = f"{path}: not a report: {type(error).__name__}: {str(error)[:200]}"
        raise CannotMeasure("RS602", headline, details=_told(path)) from error
    return report


def _told(path: Path) -> list[tuple[str, str]]:
    """What helps where another format of the same report was given."""
    json = path.suffix.lower() == ".json"
    return [] if json else [("note", "only a report saved as .json is read back; CSV and Markdown leave parts out")]


def _check_rows(report: Report) -> None:
    """Refuse rows that no version of rankscope writes; a later check must not trip over them, or pass them."""
    for row in report.rows:
        if not isinstance(row.stack, str) or not isinstance(row.layer, str) or not isinstance(row.measure, str):
            raise TypeError(f"a row without stack, layer or measure: {row.key}")
        if not isinstance(row.layer_index, int) or row.status not in {"ok", "undefined", "skipped", "error"}:
            raise ValueError(f"a row with a wrong layer_index or status: {row.key}")
        for value in (row.value, row.min, row.max, row.std, row.error, row.ceiling, row.reference, row.floor):
            if value is not None and (not isinstance(value, (int, float)) or not math.isfinite(value)):
                raise ValueError(f"a row with a number that is none: {row.key}")
        if row.status == "ok" and row.value is None:
            raise ValueError(f"a row of status ok without a value: {row.key}")
