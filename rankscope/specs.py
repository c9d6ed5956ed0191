"""Specs: what a MODEL and its flags name, as far as that is told without torch, and what a mistyped one may have meant.

`check_model` is for the command line, which loads torch for seconds: a slip in a name is told before that. What it lets
pass is opened, or refused, by `rankscope.sources`.
"""

from __future__ import annotations

import difflib
import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from rankscope.declarations import declarations
from rankscope.errors import LoadError, UsageError
from rankscope.formats import format_of
from rankscope.records import display_name
from rankscope.registry import unknown_name
from rankscope.zoo import check_spec, demos

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# A directory of checkpoints can be long; more than this is not searched for a near name.
_SEARCHED = 2000
_EXAMPLES = [
    ("Classes of a package", "--allow 'mypkg.*'"),
    ("Classes saved from a script", "--allow '__main__.*=train.py'"),
]


def shown(path: str) -> str:
    """A path as a report may hold it: as typed, or its last name alone where it is absolute.

    Args:
        path: a path of this machine, or a Windows path.

    Returns:
        Text without an absolute path.

    Example:
        >>> shown("runs/model.pt"), shown("/home/me/model.pt"), shown("C:" + chr(92) + "model.pt")
        ('runs/model.pt', 'model.pt', 'model.pt')
    """
    windows = PureWindowsPath(path)
    if Path(path).is_absolute():
        return Path(path).name or "directory"
    return windows.name if windows.is_absolute() else path


def is_target(text: str) -> bool:
    """Whether a text is ``package.module:factory`` or ``file.py:factory``.

    Args:
        text: what was typed.

    Returns:
        True where the part after the last colon is a dotted name, and the part before it one too or a ``.py`` file.

    Example:
        >>> [is_target(text) for text in ("net.py:Net", "pkg.mod:make", "C:/net.pt", "runs/net:Net")]
        [True, True, False, False]
    """
    left, colon, right = text.rpartition(":")
    return bool(colon) and _dotted(right) and (left.endswith(".py") or _dotted(left))


def _dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def exists(text: str) -> bool:
    """Whether a text is the path of something.

    Args:
        text: anything typed.

    Returns:
        False also for what the file system would not take as a name.
    """
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def no_such_file(text: str, names: list[str]) -> LoadError:
    """The error for something that is no path and no known name.

    Args:
        text: what was typed.
        names: what may have been meant: aliases, demo checkpoints, architectures with their prefix.

    Returns:
        The error, to be raised by the caller.
    """
    path = Path(text)
    near = difflib.get_close_matches(text, names, n=3, cutoff=0.6)
    beside = {str(path.with_name(entry)) for entry in _entries(path.parent)} if path.name else set()
    if path.suffix == ".py":
        beside = {entry for entry in beside if entry.endswith(".py")}
    near += difflib.get_close_matches(text, sorted(beside), n=3, cutoff=0.6)
    details = [("did you mean", ", ".join(near))] if near else []
    if path.name in _entries(path.parent):
        details = [("why", "it is a link to a file that does not exist"), *details]
    remedies = []
    module, colon, factory = text.rpartition(":")
    source = Path(*text.split("."))
    if all(part.isidentifier() for part in text.split(".")) and _is_module(source):
        details = []
        remedies = [("Name the function or class in it", f"rankscope probe {text}:NAME")]
    elif colon and exists(f"{module}.py"):
        remedies = [("A file is named with its suffix", f"rankscope probe {module}.py:{factory}")]
    elif text.count("/") == 1 and not path.suffix and not path.parent.is_dir():
        remedies = [("A model of the local Hugging Face cache", f"rankscope probe hf:{text}")]
    elif near:
        remedies = [("If that was meant", f"rankscope probe {shlex.quote(near[0])}")]
    else:
        remedies = [("Look what is there", f"ls {shlex.quote(str(_nearest(path.parent)))}")]
    return LoadError("RS310", f"{text} was not loaded: no such file", details=details, remedies=remedies)


def _is_module(path: Path) -> bool:
    return exists(f"{path}.py") or exists(str(path / "__init__.py"))


def _nearest(folder: Path) -> Path:
    """The folder itself, or the first above it that exists."""
    return next((place for place in (folder, *folder.parents) if exists(str(place))), Path())


def _entries(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in itertools.islice(directory.iterdir(), _SEARCHED)]
    except OSError:
        return []


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of dotted names; `script` is the file that stands for ``__main__``."""

    glob: str
    script: str | None = None


def patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """Read the values of ``--allow``.

    Args:
        texts: such as ``mypkg.*`` or ``__main__.*=train.py``.

    Returns:
        One pattern each.

    Raises:
        UsageError: a pattern names no package, or ``__main__`` without its script.

    Example:
        >>> patterns(["mypkg.*", "__main__.Net=train.py"])[1]
        Pattern(glob='__main__.Net', script='train.py')
    """
    found = []
    for text in texts:
        glob, equals, script = text.partition("=")
        package, dot, rest = glob.partition(".")
        why = None
        if not package.isidentifier() or not dot or not re.fullmatch(r"[\w.*?\[\]!-]+", rest):
            why = "it names no package before its first dot"
        elif package == "__main__" and not script.endswith(".py"):
            why = "__main__ is another program now, so its script is needed"
        elif package != "__main__" and equals:
            why = "only __main__ is given a script"
        if why:
            remedies = [("All classes of that package", f"--allow '{text}.*'")] if text.isidentifier() else _EXAMPLES
            raise UsageError("RS361", f"--allow {display_name(text)!r} was not understood: {why}", remedies=remedies)
        found.append(Pattern(glob, script or None))
    return tuple(found)


def check_flags(allow: Iterable[str], trust_sha256: str | None) -> None:
    """Refuse flags of trust that cannot be meant, before anything is opened.

    Args:
        allow: patterns of the user's own classes.
        trust_sha256: the checksum of the file that is trusted.

    Raises:
        UsageError: a pattern names no package, or a checksum is none.
    """
    patterns(allow)
    if trust_sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", trust_sha256):
        raise UsageError(
            "RS366",
            f"--trust-sha256 {trust_sha256[:80]!r} is no SHA-256: 64 hexadecimal digits are expected",
            remedies=[("The checksum of a file", "sha256sum FILE")],
        )


def check_model(text: str, flags: Mapping[str, Any], aliases: Mapping[str, str]) -> None:
    """Refuse a MODEL that cannot be opened whatever torch finds; nothing of the user's is imported.

    Args:
        text: MODEL.
        flags: fields of `LoadOptions` that were given.
        aliases: names of models from the configuration.
    """
    check_flags(flags.get("allow", ()), flags.get("trust_sha256"))
    _check_name(text, aliases, ())
    if "weights" in flags:
        format_of(flags["weights"])
    arch = flags.get("arch")
    if arch is not None and (arch.startswith("zoo:") or is_target(arch)):
        _check_name(arch, {}, ())


def _check_name(text: str, aliases: Mapping[str, str], via: tuple[str, ...]) -> None:
    """Refuse a name; `via` are the aliases that led to it. The order is that of `sources`."""
    if text.startswith("zoo:"):
        check_spec(text.removeprefix("zoo:"))
    elif text.startswith("demo:") and text.removeprefix("demo:") not in demos():
        error = unknown_name("demo checkpoint", text.removeprefix("demo:"), demos())
        raise error
    elif re.match(r"[a-z_]+:", text) or exists(text) or text in demos() or text in via:
        return  # a word before a colon may be the prefix of a form
    elif text in aliases:
        _check_name(aliases[text], aliases, (*via, text))
    elif not is_target(text):
        missing = unknown_model(text, aliases)
        raise missing
    elif (left := text.rpartition(":")[0]).endswith(".py") and not exists(left):
        missing = no_such_file(left, [])
        raise missing


def unknown_model(text: str, aliases: Iterable[str]) -> LoadError:
    """The error for a MODEL that is no path, no known name and no form of one.

    Args:
        text: what was typed.
        aliases: names of models from the configuration.

    Returns:
        The error, to be raised by the caller.
    """
    architectures = [f"zoo:{name}" for name in declarations("zoo", "architecture")]
    return no_such_file(text, [*aliases, *demos(), *architectures])
