"""Configuration: `rankscope.toml`, or the table ``[tool.rankscope]`` of `pyproject.toml`.

The first folder from the working directory upwards that has one of them decides, and of two in one folder
`rankscope.toml`. Keys are those of the flags. A key nobody knows is refused: a misspelt one would do nothing, silently.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.errors import UsageError
from rankscope.saved import is_saved

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rankscope.requirements import Requirement, Severity

_NAME = "rankscope.toml"
_KNOWN = (
    *("models", "weights", "strip_prefix", "init_only"),
    *("input", "random", "text", "text_field", "tokenizer", "batches", "batch_size", "max_tokens", "seed"),
    *("mask", "mask_sense", "layout", "measures", "layers", "skip_layers", "device", "dtype", "loss", "grad_tokens"),
    *("spectra", "baseline", "require", "min", "max", "max_drop", "severity"),
)
_TRUST = ("allow", "trust", "trust_sha256", "arch", "inputs")  # the last two name code that is imported
_ALIAS = [("Such as", 'models = { ours = "runs/last.pt" }')]
_LIMITS = ("min", "max", "max_drop")
_ENTRY = ("rule", *_LIMITS, "severity", "reason")  # of a table [[require]]


@dataclass(frozen=True, slots=True)
class Config:
    """What a configuration file says: where it lies, the aliases of models, and all its keys with ``_`` for ``-``."""

    path: Path | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def subject(self, word: str) -> str:
        """What a word of the command line names, where an alias stands for a saved report.

        Args:
            word: what was typed.

        Returns:
            The path of the report; any other word as it is. A file of that name goes before an alias.
        """
        text, left = word, dict(self.models)
        while text in left and not _exists(Path(text)):
            text = left.pop(text)
        return text if is_saved(text) else word


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
        told = [("Look what is there", f"ls {path.parent}"), ("Leave it out", "--no-config")]
        raise UsageError("RS104", f"{path} was not read: {error.strerror or error}", remedies=told) from error
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
        told = [("As a table", "[tool.rankscope]")]
        raise UsageError("RS105", f"{path}: tool.rankscope is no table, but {table!r}", remedies=told)
    for key in table:
        name = key.replace("-", "_")
        if name in _TRUST:
            headline = f"{path}: {key} is not read from a file: it would let a repository run code on your machine"
            raise UsageError("RS106", headline, remedies=[("On the command line", f"--{key.replace('_', '-')} …")])
        if name == "loss" and ":" in str(table[key]):
            headline = (
                f"{path}: loss names code, which is not taken from a file: a repository could run it on your machine"
            )
            raise UsageError("RS106", headline, remedies=[("On the command line", f"--loss {table[key]}")])
        if name == "tool":  # which of a pyproject.toml is not read
            told = [("Take the header away", f"in {path.name} the keys stand at top level, without [tool.rankscope]")]
            raise UsageError("RS105", f"{path}: [tool.rankscope] is the header of pyproject.toml alone", remedies=told)
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, n=2, cutoff=0.5)
            told = [("did you mean", ", ".join(near))] if near else [("known", ", ".join(sorted(_KNOWN)))]
            raise UsageError("RS105", f"{path}: unknown key {key!r}", details=told)


def _aliases(path: Path, models: object) -> dict[str, str]:
    """Names of models and what they stand for."""
    if not isinstance(models, dict):
        headline = f"{path}: models is no table of names and models, but {models!r}"
        raise UsageError("RS105", headline, remedies=_ALIAS)
    for name, spec in models.items():
        if not isinstance(spec, str) or not spec or not name:
            headline = f"{path}: models.{name} is no text that names a model, but {spec!r}"
            raise UsageError("RS105", headline, remedies=_ALIAS)
    return {name: from_here(path.parent, spec) for name, spec in models.items()}


def from_here(folder: Path, spec: str) -> str:
    """A path beside the file, seen from the working directory; any other text as it is.

    Args:
        folder: where the file lies.
        spec: what it says.

    Returns:
        A relative path, or the text.
    """
    place = folder / spec
    return os.path.relpath(place) if _exists(place) and not Path(spec).is_absolute() else spec


def _exists(place: Path) -> bool:
    try:
        return place.exists()
    except (OSError, ValueError):  # nothing that the file system takes as a name
        return False


def rules(config: Config) -> tuple[Requirement, ...]:
    """The rules of a configuration: its tables ``require``, and ``min``, ``max`` and ``max-drop``.

    Args:
        config: what the file says; its ``severity`` is that of every rule without one of its own.

    Returns:
        The rules, in the order of the file.

    Raises:
        UsageError: an entry is of the wrong kind, or its rule cannot be read; the error names the entry.
    """
    from rankscope.requirements import from_flags

    found: list[Requirement] = []
    entries = config.settings.get("require", [])
    if not isinstance(entries, list):
        error = _wrong(config, "require", f"is no list of rules, but {entries!r}")
        raise error
    severity = _severity(config, "severity", config.settings.get("severity", "error"))
    for number, entry in enumerate(entries, 1):
        found.append(_rule(config, f"require {number}", {"rule": entry} if isinstance(entry, str) else entry, severity))
    for name in _LIMITS:
        given = config.settings.get(name)
        texts = not isinstance(given, list) or all(isinstance(text, str) for text in given)
        if given is not None and not (isinstance(given, str | list | dict) and texts):
            error = _wrong(config, name, f"is no table of measures and limits, but {given!r}")
            raise error
        with _named(config, name):
            found += [replace(rule, severity=severity) for rule in from_flags(**{name: given})]
    return tuple(found)


def baseline(config: Config) -> Path | None:
    """The baseline that a configuration names.

    Args:
        config: what the file says.

    Returns:
        The file, seen from the working directory, or None.

    Raises:
        UsageError: it is no text.
    """
    named = config.settings.get("baseline")
    if named is None or config.path is None:
        return None
    if not isinstance(named, str) or not named:
        error = _wrong(config, "baseline", f"is no path, but {named!r}")
        raise error
    return Path(os.path.relpath(config.path.parent / named))


def _rule(config: Config, name: str, entry: object, severity: Severity) -> Requirement:
    """The rule of one table."""
    from rankscope.requirements import from_flags, parse

    if not isinstance(entry, dict):
        raise _wrong(config, name, f"is no rule and no table, but {entry!r}")
    table = {key.replace("-", "_"): value for key, value in entry.items()}
    for key in table:
        if key not in _ENTRY:
            near = difflib.get_close_matches(key, _ENTRY, n=2, cutoff=0.5)
            raise _wrong(config, name, f"unknown key {key!r}", near)
    kinds = [kind for kind in ("rule", *_LIMITS) if kind in table]
    if len(kinds) != 1 or not isinstance(table[kinds[0]], str):
        raise _wrong(config, name, "needs one rule, such as rule = 'mu_bar >= 0.05 @ last' or min = 'mu_bar=0.05@last'")
    reason = table.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise _wrong(config, name, f"reason is no text, but {reason!r}")
    text = table[kinds[0]]
    with _named(config, name):
        rule = parse(text) if kinds[0] == "rule" else from_flags(**{kinds[0]: text})[0]
    return replace(rule, severity=_severity(config, name, table.get("severity", severity)), reason=reason)


def _severity(config: Config, name: str, word: object) -> Severity:
    if word == "error" or word == "warn":
        return word
    raise _wrong(config, name, f"severity is neither error nor warn, but {word!r}")


@contextlib.contextmanager
def _named(config: Config, name: str) -> Iterator[None]:
    """Say of an error in a rule where the rule stands."""
    try:
        yield
    except UsageError as error:
        headline = f"{config.path}: {name}: {error.headline}"
        if error.code not in {"RS115", "RS116"}:  # whose examples are for a shell
            raise UsageError(error.code, headline, details=error.details, remedies=error.remedies) from error
        remedies = [each for each in error.remedies if each[0].startswith("Several")] or _examples(name, error.headline)
        raise UsageError(error.code, headline, remedies=remedies) from error


def _wrong(config: Config, name: str, text: str, near: Iterable[str] = ()) -> UsageError:
    """The error for an entry, with one that is right."""
    told = [("did you mean", ", ".join(near))] if near else []
    remedies = [] if near else _examples(name, text)
    return UsageError("RS105", f"{config.path}: {name}: {text}", details=told, remedies=remedies)


def _examples(name: str, text: str) -> list[tuple[str, str]]:
    """An entry of the same kind that is right."""
    if "severity" in text:
        return [("One of the two", 'severity = "warn"')]
    if "reason" in text:
        return [("As text", 'reason = "see docs/collapse.md"')]
    if name in _LIMITS:
        limits = {"min": 'mu_bar = "0.05@last"', "max": "value_cosine = 0.99", "max_drop": 'effective_rank = "10%"'}
        return [("Such as", f"{name.replace('_', '-')} = {{ {limits[name]} }}")]
    if name == "baseline":
        return [("Such as", 'baseline = "rankscope-baseline.json"')]
    rule = "verdict != collapsed" if re.search(r"\b(verdict|decay)\b", text) else "mu_bar >= 0.05 @ last"
    return [("Such as", f'require = ["{rule}"]')]
