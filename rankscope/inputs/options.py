"""What a user may say about the inputs; the names are those of the flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankscope.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYOUTS = ("btd", "tbd", "bd", "bct", "bchw", "bhwc")
SENSES = ("keep", "drop")


@dataclass(frozen=True, slots=True)
class InputOptions:
    """Where the inputs come from, and how they are read.

    `input`, `random`, `text` and `inputs` are the sources: at most one of them. `text_field` and `tokenizer` (a folder,
    a tokenizer.json, or ``bytes``) belong to `text`. `batches` limits the number of batches; `batch_size` is the
    sequences of one; `max_tokens` the longest sequence made of text, of a plain matrix or by inference: arrays of
    sequences are taken as they are. `mask` names the padding mask, or is ``none``; `mask_sense` says whether its true
    entries ``keep`` or ``drop`` a token; `layout` the axes of the inputs.

    Example:
        >>> InputOptions(random=("x=8x128x64",)).batch_size
        8
    """

    input: Path | None = None
    random: tuple[str, ...] = ()
    text: Path | None = None
    text_field: str | None = None
    tokenizer: Path | None = None
    inputs: str | Callable[[], Any] | None = None
    batches: int | None = None
    batch_size: int = 8
    max_tokens: int = 512
    seed: int = 0
    mask: str | None = None
    mask_sense: str | None = None
    layout: str | None = None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def given_source(options: InputOptions) -> str | None:
    """The one source of inputs that was given.

    Args:
        options: what the user said.

    Returns:
        ``input``, ``random``, ``text``, ``inputs``, or None.

    Raises:
        UsageError: more than one was given, or a value is outside its range.

    Example:
        >>> given_source(InputOptions(random=("x=8x128x64",)))
        'random'
    """
    _check(options)
    values = {name: getattr(options, name) for name in ("input", "random", "text", "inputs")}
    given = [name for name, value in values.items() if value not in (None, ())]
    if len(given) > 1:
        raise UsageError(
            "RS200",
            f"the inputs come from one source, but {len(given)} were given",
            details=[("given", ", ".join(map(_flag, given)))],
            remedies=[("Keep one", _flag(given[0]))],
        )
    return given[0] if given else None


def _check(options: InputOptions) -> None:
    """Refuse values outside their range, and options of a source that was not given."""

    def refuse(name: str, expected: str) -> UsageError:
        found = getattr(options, name)
        return UsageError("RS201", f"{_flag(name)} {found} cannot be used: expected {expected}")

    for name in ("batches", "batch_size", "max_tokens"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise refuse(name, "a whole number of at least 1")
    for name, known in (("layout", LAYOUTS), ("mask_sense", SENSES)):
        if getattr(options, name) not in (None, *known):
            raise refuse(name, "one of " + ", ".join(known))
    for name in ("text_field", "tokenizer"):
        if getattr(options, name) is not None and options.text is None:
            raise refuse(name, "it together with --text FILE")
    if options.mask == "none" and options.mask_sense is not None:
        raise refuse("mask_sense", "no --mask none beside it")
