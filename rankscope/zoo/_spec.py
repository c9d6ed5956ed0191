"""Specs: ``name,option=value,…`` to typed values, read by the annotations of a builder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from rankscope.errors import UsageError
from rankscope.registry import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

SWITCH = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
FLOATS = tuple[float, ...]


def check_kind(kind: Any) -> Any:
    """Refuse an option that no text could be read as, when it is declared.

    Args:
        kind: the annotation of the option.

    Returns:
        The annotation.

    Raises:
        TypeError: it is none of int, float, bool, a Literal of strings, ``tuple[float, ...]``, nor the last of them or
            a word, ``tuple[float, ...] | Literal["learned"]``.
    """
    if kind in {int, float, bool, FLOATS} or get_origin(kind) is Literal or words(kind):
        return kind
    raise TypeError(f"an option is int, float, bool, a Literal, tuple[float, ...] or that and a Literal, not {kind}")


def words(kind: Any) -> tuple[str, ...]:
    """The words that stand in the place of a list of numbers.

    Args:
        kind: the annotation of an option.

    Returns:
        The words; none where the option is no list, or a list of numbers and nothing else.

    Example:
        >>> words(FLOATS | Literal["learned"]), words(FLOATS), words(Literal["pre", "post"])
        (('learned',), (), ())
    """
    if get_origin(kind) is not Union:
        return ()
    numbers, *rest = get_args(kind)
    fits = numbers == FLOATS and len(rest) == 1 and get_origin(rest[0]) is Literal
    return get_args(rest[0]) if fits else ()


def split(spec: str) -> tuple[str, dict[str, list[str]]]:
    """Take a spec apart.

    Args:
        spec: a name, then items ``option=value``; an item without ``=`` continues the list before it.

    Returns:
        The name, and for each option the texts of its values.

    Raises:
        UsageError: an item belongs to no option, or an option is given twice.

    Example:
        >>> split("transformer,depth=3,lam=1,2,4")
        ('transformer', {'depth': ['3'], 'lam': ['1', '2', '4']})
    """
    name, *items = (item.strip() for item in spec.split(","))
    options: dict[str, list[str]] = {}
    key = ""
    for item in items:
        before, equals, text = item.partition("=")
        if not equals and key and item:
            options[key].append(item)
            continue
        key = before.strip()
        if not (equals and key):
            raise UsageError("RS350", f"{spec!r} was not read: {item!r} is not option=value", remedies=[_FORM])
        if key in options:
            raise UsageError("RS350", f"{spec!r} was not read: {key!r} is given twice", remedies=[_FORM])
        options[key] = [text.strip()]
    return name, options


def parse(items: Mapping[str, list[str]], kinds: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Read the texts of options as what their annotations ask for.

    Args:
        items: for each option the texts of its values.
        kinds: for each known option its annotation.
        name: of the architecture, for the next step of an error.

    Returns:
        For each given option its value.

    Raises:
        UsageError: an option is unknown, or a text cannot be read.

    Example:
        >>> parse({"depth": ["3"], "lam": ["1", "2"], "mlp": ["off"]}, {"depth": int, "lam": FLOATS, "mlp": bool})
        {'depth': 3, 'lam': (1.0, 2.0), 'mlp': False}
    """
    for option in items:
        if option not in kinds:
            error = unknown_name("option", option, list(kinds))
            raise error
    try:
        return {option: _read_all(option, texts, kinds[option]) for option, texts in items.items()}
    except _NoNumber as wrong:
        remedies = [*wrong.remedies, ("What each option takes", f"rankscope zoo {name}".rstrip())]
        raise UsageError("RS351", str(wrong), remedies=remedies) from None


class _NoNumber(ValueError):  # noqa: N818 - reads as the sentence it is
    """A text that is none of the numbers of its option, with the form of what is."""

    def __init__(self, headline: str, *remedies: tuple[str, str]) -> None:
        super().__init__(headline)
        self.remedies = remedies


_FORM = ("form", "NAME,option=value,option=value")
_EXPECTED = {int: "a whole number", float: "a finite number"}


def _read_all(name: str, texts: list[str], kind: Any) -> Any:
    """A tuple where the option is a list, or one of the words that stand in its place; else one value."""
    if len(texts) == 1 and texts[0] in words(kind):
        return texts[0]
    if alone := [text for text in texts if text in words(kind)]:
        one = (f"{name}={alone[0]}", _listed(name))
        headline = f"option {name} is {','.join(texts)!r}: {alone[0]} stands alone, in the place of all numbers"
        raise _NoNumber(headline, ("Give the one or the other", " or ".join(one)))
    if kind == FLOATS or words(kind):
        return tuple(_number(name, text, float, words(kind), listed=True) for text in texts)
    return _read(name, ",".join(texts), kind)


def _read(name: str, text: str, kind: Any) -> Any:
    """One value."""
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise unknown_name(f"value of {name}:", text, list(get_args(kind)))
        return text
    if kind is bool:
        if text.lower() not in SWITCH:
            raise unknown_name(f"value of {name}:", text, list(SWITCH))
        return SWITCH[text.lower()]
    return _number(name, text, kind)


def _number(
    name: str, text: str, kind: type[int] | type[float], instead: tuple[str, ...] = (), *, listed: bool = False
) -> int | float:
    """A number, of a list where `listed`; `instead` are the words that could have stood there."""
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        expected = " or ".join([_EXPECTED[kind], *instead])
        form = [("A list is written so", _listed(name))] if listed else []
        raise _NoNumber(f"option {name} is {text!r}, expected {expected}", *form)
    return value


def _listed(name: str) -> str:
    return f"{name}=8,16,32"
