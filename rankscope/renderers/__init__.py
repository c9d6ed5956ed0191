"""Renderers: reports, comparisons and findings turned into text, one file a format. Each only writes to a stream.

A module of this folder registers its format with `renderer`, once for each subject that it can show; `save`
writes files, and `load`, from `rankscope.saved`, reads a report back.
"""

from __future__ import annotations

import importlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rankscope.errors import DegradedWarning, UsageError
from rankscope.files import check_writable, write_whole
from rankscope.records import Report
from rankscope.registry import Registry
from rankscope.saved import load as load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Style:
    """How a reader wants the text.

    `columns` is the width of the screen; `color` and `unicode` say what it can show; `wide` asks for a column a
    measure (CSV); `every` for all columns where the screen has not the width for them side by side; notes whose text
    is in `announced` were shown already, and without `notes` a screen has none.
    """

    columns: int = 200
    color: bool = False
    unicode: bool = True
    wide: bool = False
    every: bool = False
    announced: frozenset[str] = frozenset()
    notes: bool = True


class Write(Protocol):
    """Writes a subject to a stream, which takes bytes where the format is binary."""

    def __call__(self, subject: Any, stream: Any, style: Style, /) -> None:
        """Write all of it; nothing else is touched."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """An output format.

    `suffixes` are those of its files, `write` the function that writes it. A `binary` one is for files alone.
    `needs` is a module that it takes, and `extra` what installs that. One of `rows` has no place for anything else.
    """

    name: str
    suffixes: tuple[str, ...]
    write: Write
    binary: bool = False
    needs: str | None = None
    extra: str | None = None
    rows: bool = False

    def content(self, subject: Any, style: Style | None = None) -> str | bytes:
        """A subject in this format; of reports without a row, a format of rows warns that it holds nothing.

        Args:
            subject: a report, or several: rows are joined, pages follow each other, and a format of one report
                refuses; or the comparison or the findings that the format was registered for.
            style: what the reader can show.

        Returns:
            The whole content of a file.
        """
        self.check()
        subject = [subject] if isinstance(subject, Report) else subject
        if self.rows and not any(report.rows for report in subject):
            _warn_of_nothing(self.name, subject)
        stream: Any = io.BytesIO() if self.binary else io.StringIO()
        self.write(subject, stream, style or Style())
        content: str | bytes = stream.getvalue()
        return content

    def text(self, subject: Any, style: Style | None = None) -> str:
        """A subject in this format, for the screen.

        Args:
            subject: as `content` takes it.
            style: what the reader can show.

        Returns:
            The whole text.

        Raises:
            UsageError: the format is binary.
        """
        self.check()
        if self.binary:
            headline = f"{self.name} was not written: it is no text, and the screen would not show it"
            raise UsageError("RS607", headline, remedies=[("Write it to a file", f"-o report{self.suffixes[0]}")])
        return str(self.content(subject, style))

    def check(self) -> None:
        """Make sure that the format can be written here.

        Raises:
            UsageError: a package is missing.
        """
        if self.needs is None:
            return
        try:
            importlib.import_module(self.needs)
        except ImportError as error:
            package = self.needs.partition(".")[0]
            raise UsageError(
                "RS606",
                f"{self.name} was not written: it needs {package}, which is not installed here",
                remedies=[
                    ("Install it", f"python -m pip install 'rankscope[{self.extra}]'"),
                    ("Without it", "-o FILE.csv"),
                ],
            ) from error


RENDERERS: Registry[Renderer] = Registry("output format", "rankscope.renderers")
COMPARISONS: Registry[Renderer] = Registry("output format of a comparison", "rankscope.renderers")
CERTIFICATES: Registry[Renderer] = Registry("output format of a certificate", "rankscope.renderers")
SWEEPS: Registry[Renderer] = Registry("output format of a sweep", "rankscope.renderers")
FINDINGS: Registry[Renderer] = Registry("output format of a check", "rankscope.renderers.findings")


def renderer(
    name: str,
    *suffixes: str,
    of: Registry[Renderer] = RENDERERS,
    binary: bool = False,
    needs: str | None = None,
    extra: str | None = None,
    rows: bool = False,
) -> Callable[[Write], Write]:
    """Decorator: register a function as the writer of a format.

    Args:
        name: what `--format` calls it.
        suffixes: the suffixes of its files, such as ``".json"``.
        of: what it writes: RENDERERS for reports, COMPARISONS, CERTIFICATES, SWEEPS, FINDINGS.
        binary: whether it writes bytes.
        needs: a module that is not among the requirements of rankscope.
        extra: the extra of rankscope that installs it.
        rows: whether it holds the rows of reports and nothing else.

    Returns:
        The decorator; the function stays as it is.
    """

    def register(write: Write) -> Write:
        of.add(name, Renderer(name, suffixes, write, binary, needs, extra, rows))
        return write

    return register


def screen_for(name: str | None, outputs: Sequence[Path], of: Registry[Renderer] = RENDERERS) -> Renderer:
    """The renderer of the screen: the named one, or the table where that one is for files and there are some.

    Args:
        name: what `--format` says.
        outputs: the files that will be written.
        of: the formats of the subject.

    Returns:
        A renderer of text.
    """
    entry = of[name or "table"]
    if not entry.binary:
        return entry
    if not outputs:
        entry.text(())
    return of["table"]


def renderer_for(path: Path, name: str | None = None, of: Registry[Renderer] = RENDERERS) -> Renderer:
    """The renderer of an output file: that of its suffix, else the named one.

    Args:
        path: the output file.
        name: the format for a file whose suffix says nothing.
        of: the formats of the subject.

    Returns:
        The renderer.

    Raises:
        UsageError: it is a folder, or the suffix names no format, and no name is given.
    """
    if path.is_dir():
        inside = ("Name a file in it", f"-o {path / 'report.json'}")
        raise UsageError("RS601", f"{path} cannot be written: it is a folder", remedies=[inside])
    for entry in of.values():
        if path.suffix.lower() in entry.suffixes:
            return entry
    if name is not None:
        return of[name]
    known = ", ".join(f"{suffix} ({entry.name})" for entry in of.values() for suffix in entry.suffixes)
    headline = f"{path} was not written: its suffix names no output format"
    raise UsageError("RS604", headline, details=[("known", known)], remedies=[("Name the format", "--format json")])


def check(
    outputs: Sequence[Path], name: str | None = None, of: Registry[Renderer] = RENDERERS, wide: bool = False
) -> None:
    """Make sure that every output has a format and a place, before the long work.

    Args:
        outputs: the files that will be written.
        name: the format for files whose suffix says nothing.
        of: the formats of the subject.
        wide: whether CSV with measures as columns was asked for.

    Raises:
        UsageError: wide CSV was asked for, and nothing is written as CSV.
    """
    for path in outputs:
        renderer_for(path, name, of).check()
        check_writable(path)
    if wide and "csv" not in {name, *(renderer_for(path, name, of).name for path in outputs)}:
        headline = "--wide gives a CSV a column a measure, and nothing here is written as CSV"
        remedies = [("Write one", "-o report.csv --wide"), ("All columns of the table on the screen", "--verbose")]
        raise UsageError("RS103", headline, remedies=remedies)


def save(reports: Report | Sequence[Report], path: Path, wide: bool = False, name: str | None = None) -> None:
    """Write a report, or several, to a file; it appears whole or not at all.

    Args:
        reports: as `Renderer.content` takes them.
        path: the file; its suffix chooses the format.
        wide: CSV with measures as columns.
        name: the format for a file whose suffix says nothing.
    """
    save_all(reports, [path], wide, name)


def save_all(
    subject: Any,
    outputs: Iterable[Path],
    wide: bool = False,
    name: str | None = None,
    of: Registry[Renderer] = RENDERERS,
) -> None:
    """Write several files; none is touched where one of them cannot be made.

    Args:
        subject: as `Renderer.content` takes it.
        outputs: the files; the suffix of each chooses its format.
        wide: CSV with measures as columns.
        name: the format for files whose suffix says nothing.
        of: the formats of the subject.
    """
    style = Style(wide=wide)
    for path, content in [(path, renderer_for(path, name, of).content(subject, style)) for path in outputs]:
        write_whole(path, content)


def _warn_of_nothing(name: str, reports: Sequence[Report]) -> None:
    """A warning where all that reports hold are measures of several numbers, which no line of rows can carry."""
    apart = ", ".join(dict.fromkeys(vector.measure for report in reports for vector in report.spectra))
    if apart:
        kept = "several numbers a sequence, kept in .json and .safetensors alone"
        text = f"the {name} holds no row: what was measured, {apart}, is {kept}"
        warnings.warn(text, DegradedWarning, stacklevel=4)
