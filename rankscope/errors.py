"""Errors: what was attempted, what is wrong in the user's terms, and the safe next step first.

```
RankscopeError            exit 70   a bug, unless a subclass says otherwise
├── UsageError            exit 2    the command line, an option or the configuration
└── CannotMeasure         exit 3    nothing could be measured
    ├── LoadError         the model: a file refused, wrong keys, a factory that raised
    ├── InputError        the inputs: unreadable, out of range, bound to no parameter
    └── CaptureError      the forward pass: it raised, no hook fired, no layer matched
RankscopeWarning          something the user should know; the numbers are right
└── DegradedWarning       something could not be had; the report says what
```

Codes are stable: RS1xx usage, RS2xx inputs, RS3xx model files, RS4xx capture, RS5xx notes about the numbers,
RS6xx output, RS9xx internal. `errors.toml` says of each what it means and what to do; `docs/errors.md` is made from it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Entry:
    """What a code means: its title, what usually causes it, and what to do."""

    title: str
    cause: str
    remedy: str


class RankscopeError(Exception):
    """An error with a stable code, the facts beside it, and remedies with the safest first.

    Args:
        code: a key of `catalogue()`, such as ``"RS301"``.
        headline: one line: what was attempted and what is wrong.
        details: pairs (label, text) of facts.
        remedies: pairs (label, text) of next steps, the safest first, the risky one last.

    Example:
        >>> print(LoadError("RS310", "model.pt was not loaded: no such file"))
        model.pt was not loaded: no such file [RS310]
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        code: str,
        headline: str,
        *,
        details: Iterable[tuple[str, str]] = (),
        remedies: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(headline)
        self.code = code
        self.headline = headline
        self.details = tuple(details)
        self.remedies = tuple(remedies)

    def __str__(self) -> str:
        lines = [f"{self.headline} [{self.code}]"]
        lines += [f"  {label}  {text}" for label, text in self.details]
        lines += [f"  {label}: {text}" for label, text in self.remedies]
        return "\n".join(lines)


class UsageError(RankscopeError):
    """The command line, an option or the configuration is wrong; nothing was run."""

    exit_code = 2


class CannotMeasure(RankscopeError):  # noqa: N818 - reads as the sentence it is
    """Nothing could be measured."""

    exit_code = 3


class LoadError(CannotMeasure):
    """The model could not be had."""


class InputError(CannotMeasure):
    """The inputs could not be had, or do not fit the model."""


class CaptureError(CannotMeasure):
    """The forward pass failed, or showed nothing to measure."""


class RankscopeWarning(UserWarning):
    """Something the user should know; the numbers are right."""


class DegradedWarning(RankscopeWarning):
    """Something could not be had; the report says what and why."""


@cache
def catalogue() -> dict[str, Entry]:
    """What each code means, read from ``errors.toml`` when first asked for.

    Returns:
        Code to entry, in ascending order.

    Example:
        >>> catalogue()["RS310"].title
        'no such file'
    """
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return {code: Entry(**fields) for code, fields in tomllib.loads(text).items()}
