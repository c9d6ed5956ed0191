"""Registries: a folder whose every file adds one feature.

A `Registry` belongs to a package; its modules register entries by name at import. The folder is walked on the first
look-up, a name given twice raises, and an unknown name is answered with the nearest known ones.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import TYPE_CHECKING, Generic, TypeVar

from rankscope.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


def unknown_name(
    kind: str, name: str, known: list[str], listed: list[str] | None = None, command: str | None = None
) -> UsageError:
    """The error for a name that is not among the known ones, with the nearest of them.

    Args:
        kind: what the name stands for, such as ``"measure"``.
        name: the unknown name.
        known: all known names.
        listed: those that the error lists, where all are too many to read.
        command: what lists them all; the error then names the near ones and this.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> print(unknown_name("measure", "mu_baar", ["mu", "mu_bar"]))
        unknown measure 'mu_baar' [RS101]
          did you mean  mu_bar
          known  mu, mu_bar
    """
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or difflib.get_close_matches(name.lower(), known)
    details = [("did you mean", ", ".join(near))] if near else []
    if command is not None:
        return UsageError("RS101", f"unknown {kind} {name!r}", details=details, remedies=[("All of them", command)])
    names = ", ".join(sorted(known if listed is None else listed))
    return UsageError("RS101", f"unknown {kind} {name!r}", details=[*details, ("known", names)])


class Registry(Generic[T]):
    """Names to entries, filled by the modules of one package.

    Args:
        kind: what an entry is, in the words of an error message.
        package: the dotted name of the folder whose modules register themselves; one whose name starts with an
            underscore is not a feature.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, T] = {}
        self._walked = False

    def add(self, name: str, entry: T) -> T:
        """Register an entry.

        Args:
            name: its name.
            entry: what the name stands for.

        Returns:
            The entry.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry
        return entry

    def _walk(self) -> dict[str, T]:
        if not self._walked:
            self._walked = True
            for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
                if not module.name.startswith("_"):
                    importlib.import_module(f"{self.package}.{module.name}")
        return self._entries

    def names(self) -> list[str]:
        """All names, in the order of registration.

        Returns:
            The names.
        """
        return list(self._walk())

    def __getitem__(self, name: str) -> T:
        entries = self._walk()
        if name not in entries:
            raise unknown_name(self.kind, name, list(entries))
        return entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._walk()

    def __iter__(self) -> Iterator[str]:
        return iter(self._walk())

    def values(self) -> list[T]:
        """All entries, in the order of registration.

        Returns:
            The entries.
        """
        return list(self._walk().values())
