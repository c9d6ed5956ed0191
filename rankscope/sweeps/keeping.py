"""Keeping: the points of a sweep on disk as they come, whole files only, so that a run can be interrupted."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from rankscope.errors import UsageError
from rankscope.files import check_writable, write_whole
from rankscope.sweeps.axes import label
from rankscope.sweeps.saved import INDEX

if TYPE_CHECKING:
    from pathlib import Path

    from rankscope.sweeps.records import Point, Sweep

SECONDS = 5.0  # between two writings of one large file


class Kept:
    """A file of JSON, or a folder of reports with an index, that takes the points of a sweep.

    Args:
        path: a ``.json`` file, or a folder.
        folder: whether it is one.
    """

    def __init__(self, path: Path, folder: bool) -> None:
        self._path, self._folder, self._last = path, folder, 0.0
        self._names: dict[tuple[str, object], str] = {}

    @property
    def index(self) -> Path:
        """The file that an earlier run left, if there was one."""
        return self._path / INDEX if self._folder else self._path

    def check(self) -> None:
        """Make sure that it can be written, before the long work; the folder is made.

        Raises:
            UsageError: it cannot.
        """
        if self._folder:
            try:
                self._path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                headline = f"{self._path} cannot be written: {error.strerror or error}"
                raise UsageError("RS601", headline, remedies=[("Name another folder", "-o OTHER/")]) from error
        check_writable(self.index)

    def write(self, sweep: Sweep, *, last: bool = False) -> None:
        """Write what is known so far; one large file only now and then, and always at the end.

        Args:
            sweep: all points that are measured.
            last: whether nothing more will come.
        """
        if self._folder:
            reference = None if sweep.reference is None else self._apart(sweep.reference)
            sweep = replace(sweep, points=tuple(map(self._apart, sweep.points)), reference=reference)
        elif not last and time.monotonic() - self._last < SECONDS:
            return
        write_whole(self.index, sweep.to_json() + "\n")
        self._last = time.monotonic()

    def _apart(self, point: Point) -> Point:
        """The point with its report in a file of its own."""
        if point.report is None:
            return point
        key = (point.origin, point.key)
        if key not in self._names:
            name = self._free(re.sub(r"[^\w.=,+-]+", "_", label(point.values, exact=True) or point.label)[:100])
            write_whole(self._path / name, point.report.to_json() + "\n")
            self._names[key] = name
        return replace(point, file=self._names[key])

    def _free(self, label: str) -> str:
        """A name that no other point of the sweep has."""
        taken = {INDEX, *self._names.values()}
        names = (f"{label}{f'-{i}' if i else ''}.json" for i in range(len(taken) + 2))
        return next(name for name in names if name not in taken)
