"""Configuration: `rankscope.toml`, or the table ``[tool.rankscope]`` of `pyproject.toml`.

The first folder from the working directory upwards that has one of them decides, and of two in one folder
`rankscope.toml`. Keys are those of the flags. A key nobody knows is refused: a misspelt one would do nothing, silently.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = "rankscope.toml"
_KNOWN = (
    *("model", "models", "arch", "weights", "strip_prefix", "init_only"),
    *("input", "random", "text", "text_field", "tokenizer", "inputs", "batches", "batch_size", "max_tokens", "seed"),
    *("mask", "mask_sense", "layout", "measures", "layers", "skip_layers", "device", "dtype", "loss", "grad_tokens"),
    *("spectra", "memory", "baseline", "require", "min", "max", "max_drop", "aggregate", "severity"),
)
_TRUST = ("allow", "trust", "trust_sha256")


@dataclass(frozen=True, slots=True)
class Config:
    """What a configuration file says: where it lies, the aliases of models, and all its keys with ``_`` for ``-``."""

    path: Path | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def find(folder: Path) -> Path | None:
    """The configuration file that holds for a folder.

    Args:
        folder: where the search starts; it goes on upwards.

    Returns:
        The file, or None.
    """
    for place in (folder, *folder.parents):
        if (place / _NAME).is_file():
            return place / _NAME
        project = place / "pyproject.toml"
        if project.is_file() and _mentions(project):
            return project
    return None


def _mentions(project: Path) -> bool:
    """Whether a pyproject.toml is about rankscope; one that is broken and is not does not concern us."""
    try:
        text = project.read_text(encoding="utf-8")
        return "rankscope" in tomllib.loads(text).get("tool", {})
    except tomllib.TOMLDecodeError:
        return "[tool.rankscope" in text
    except (OSError, UnicodeDecodeError):
        return False


def read(path: Path | None) -> Config:
    """Read and check a configuration file.

    Args:
        path: the file, or None for no configuration.

    Returns:
        What it says. An alias that is a path is relative to the file's folder, and comes back relative to the working
        directory.

    Raises:
        UsageError: the file is missing or broken, or a key is unknown, of the wrong kind, or one that grants trust.
    """
    if path is None:
        return Config()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("RS104", f"{path} was not read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        told = [("Leave it out", "--no-config")]
        raise UsageError("RS104", f"{path} is no valid TOML: {error}", remedies=told) from error
    table = data.get("tool", {}).get("rankscope", {}) if path.name == "pyproject.toml" else data
    _check_keys(path, table)
    settings = {key.replace("-", "_"): value for key, value in table.items()}
    return Config(path, _aliases(path, settings.get("models", {})), settings)


def _check_keys(path: Path, table: object) -> None:
    """Refuse keys that nobody knows, and those that grant trust."""
    if not isinstance(table, dict):
        raise UsageError("RS105", f"{path}: tool.rankscope is no table, but {table!r}")
    for key in table:
        name = key.replace("-", "_")
        if name in _TRUST:
            headline = f"{path}: {key} is not read from a file: it would let a repository run code on your machine"
            raise UsageError("RS106", headline, remedies=[("On the command line", f"--{key.replace('_', '-')} …")])
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, n=2, cutoff=0.5)
            told = [("did you mean", ", ".join(near))] if near else [("known", ", ".join(sorted(_KNOWN)))]
            raise UsageError("RS105", f"{path}: unknown key {key!r}", details=told)


def _aliases(path: Path, models: object) -> dict[str, str]:
    """Names of models and what they stand for."""
    if not isinstance(models, dict):
        raise UsageError("RS105", f"{path}: models is no table of names and models, but {models!r}")
    for name, spec in models.items():
        if not isinstance(spec, str) or not spec or not name:
            raise UsageError("RS105", f"{path}: models.{name} is no text that names a model, but {spec!r}")
    return {name: _from_here(path.parent, spec) for name, spec in models.items()}


def _from_here(folder: Path, spec: str) -> str:
    """A path beside the file, seen from the working directory; any other model as it is."""
    place = folder / spec
    try:
        beside = place.exists() and not Path(spec).is_absolute()
    except (OSError, ValueError):  # nothing that the file system takes as a name
        return spec
    return os.path.relpath(place) if beside else spec
