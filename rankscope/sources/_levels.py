"""Reading a pickle at the level of trust that the user chose: as data, with the user's own classes, or as it wants.

The flags choose the level before the file is looked at, and one level never falls back to the next.
"""

from __future__ import annotations

import pickle
import types
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rankscope.errors import LoadError
from rankscope.formats import SAVE_WEIGHTS, Kind
from rankscope.records import display_name
from rankscope.sources import _restricted
from rankscope.sources._allow import covered
from rankscope.sources._trust import command, is_trusting, trusted
from rankscope.specs import patterns
from rankscope.user_code import importable, locate, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from rankscope.records import Note
    from rankscope.sources import LoadOptions


def read(path: Path, name: str, kind: Kind, options: LoadOptions) -> tuple[Any, tuple[Note, ...]]:
    """What a file of torch.save holds.

    Args:
        path: the file.
        name: the file in the user's words.
        kind: what it is.
        options: `allow`, `trust` and `trust_sha256` choose the level.

    Returns:
        The content, and what to know of how it was read.
    """
    if not is_trusting(options):
        return _restricted.load(path, name, kind, options)
    return run(path, name, kind, options, lambda: _torch_load(path, options))


def read_pickle(path: Path, name: str, kind: Kind, options: LoadOptions) -> tuple[Any, tuple[Note, ...]]:
    """What a plain pickle holds; only a trusted one is read.

    Args:
        path: the file.
        name: the file in the user's words.
        kind: what it is.
        options: `trust` and `trust_sha256`; `allow` may say which script stands for ``__main__``.

    Returns:
        The content, and the note that it was trusted.
    """

    def load() -> Any:
        with path.open("rb") as file:
            return _unpickler(options)(file).load()

    return run(path, name, kind, options, load)


def read_package(path: Path, name: str, kind: Kind, options: LoadOptions) -> tuple[Any, tuple[Note, ...]]:
    """What a torch.package archive holds; only a trusted one is read.

    Args:
        path: the file.
        name: the file in the user's words.
        kind: what it is.
        options: `trust` and `trust_sha256`.

    Returns:
        The content of its only pickle, and the note that it was trusted.
    """

    def load() -> Any:
        from torch.package.package_importer import PackageImporter

        package, resource = _resource(path, name)
        return PackageImporter(str(path)).load_pickle(package, resource, map_location="cpu")

    return run(path, name, kind, options, load)


def run(
    path: Path, name: str, kind: Kind, options: LoadOptions, load: Callable[[], Any]
) -> tuple[Any, tuple[Note, ...]]:
    """Load a trusted file by something that runs its code.

    Args:
        path: the file or directory.
        name: it in the user's words.
        kind: what it is.
        options: `trust` and `trust_sha256`.
        load: reads it.

    Returns:
        What `load` gives, and the note that the file was trusted.

    Raises:
        LoadError: the file is not trusted, or `load` raised.
    """
    note = trusted(path, name, kind, options)
    importable(Path.cwd())
    try:
        with told(LoadError, "RS367", f"{name} was not loaded: its own code failed"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load(), (note,)
    except LoadError as error:
        if error.code != "RS367":
            raise
        remedies = [("Run where its classes can be imported", "the current directory is searched last"), SAVE_WEIGHTS]
        if "__main__" in str(error.__cause__):
            script = ("Saved from a script?", f"{command(name, options)} --trust --allow '__main__.*=yourscript.py'")
            remedies.insert(0, script)
        details = [(label, display_name(text)) for label, text in error.details]
        raise LoadError(error.code, error.headline, details=details, remedies=remedies) from error.__cause__


def _torch_load(path: Path, options: LoadOptions) -> Any:
    """torch.load as its author meant it, with the user's script in the place of ``__main__``."""
    reader = types.SimpleNamespace(
        __name__="pickle",
        Unpickler=_unpickler(options),
        load=lambda file, **settings: _unpickler(options)(file, **settings).load(),
    )
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)


def _unpickler(options: LoadOptions) -> type[pickle.Unpickler]:
    chosen = [pattern for pattern in patterns(options.allow) if pattern.script]

    class Unpickler(pickle.Unpickler):  # noqa: S301 - a trusted file: the gate was passed
        def find_class(self, module: str, name: str) -> Any:
            pattern = covered([f"{module}.{name}"], chosen).get(f"{module}.{name}")
            if pattern is None:
                return super().find_class(module, name)
            return locate(f"{pattern.script}:{name}", LoadError, "RS363")

    return Unpickler


def _resource(path: Path, name: str) -> tuple[str, str]:
    """The package and the name of the only pickle in a torch.package archive."""
    with zipfile.ZipFile(path) as archive:
        names = [entry.partition("/")[2] for entry in archive.namelist()]
    pickles = [entry for entry in names if entry.endswith(".pkl") and not entry.startswith(".")]
    if len(pickles) != 1:
        raise LoadError(
            "RS364",
            f"{name} was not loaded: it holds {len(pickles)} pickles, and which is meant cannot be told",
            details=[("pickles", ", ".join(map(display_name, pickles[:5])) or "none")],
            remedies=[SAVE_WEIGHTS],
        )
    package, _, resource = pickles[0].rpartition("/")
    return package.replace("/", "."), resource
