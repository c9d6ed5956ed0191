"""Edits: ``MODEL+EDIT[=ARGS][@SELECTOR][+…]`` taken apart and read, without torch.

Names, arguments and what they mean come from the declarations in the files of `rankscope.interventions`, where the
edits are carried out.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankscope.declarations import declarations
from rankscope.edit_values import check_number, read_value, wrong
from rankscope.errors import UsageError
from rankscope.registry import unknown_name
from rankscope.selectors import EVERY, Selector, parse_selector
from rankscope.specs import check_model, exists, is_target
from rankscope.zoo import demos

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rankscope.declarations import Declaration, Parameter

_QUOTES = "\"'"
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class EditSpec:
    """One edit as it was typed: its name, its arguments, and the layers that it is meant for."""

    name: str
    arguments: Mapping[str, Any]
    where: Selector = EVERY

    def __str__(self) -> str:
        values = ",".join(_typed(value) for value in self.arguments.values())
        return self.name + (f"={values}" if values else "") + (f"@{self.where}" if self.where != EVERY else "")


def _typed(value: object) -> str:
    """A value as it is typed."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(_typed, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def known_edits() -> Mapping[str, Declaration]:
    """The edits by their names.

    Returns:
        Name to what is declared of it.

    Example:
        >>> known_edits()["no_skip"].summary
        'Leave every skip out: x + f(x) becomes f(x); a skip that is NaN leaves no NaN behind.'
    """
    return declarations("interventions", "intervention")


def split_model(text: str, aliases: Iterable[str] = ()) -> tuple[str, tuple[str, ...]]:
    """Take a MODEL apart: what is opened, and the edits that it runs with.

    The longest path that exists is the model, whatever it holds; where there is none, edits begin after the first ``+``
    that the name of an edit follows.

    Args:
        text: what was typed.
        aliases: names of models from the configuration.

    Returns:
        The model without its edits, and each edit as typed; none where no edit is meant.

    Example:
        >>> split_model("zoo:transformer,lam=1e+3+lambda_skip=2@6..8+no_skip")
        ('zoo:transformer,lam=1e+3', ('lambda_skip=2@6..8', 'no_skip'))
        >>> split_model("c++/net.pt")
        ('c++/net.pt', ())
    """
    if exists(text):
        return text, ()
    ends = _pluses(text)
    _refuse_slips(text, ends, aliases)
    for end in reversed(ends):
        if exists(text[:end]) and _NAME.match(text, end + 1):
            return text[:end], _parts(text[end + 1 :])
    for end in ends:
        found = _NAME.match(text, end + 1)
        if found is None:
            continue
        # After a name that means a model, a word is meant as an edit even where it is misspelt.
        if found[0] in known_edits() or (_ends(text, found.end()) and _is_model(text[:end], aliases)):
            return text[:end], _parts(text[end + 1 :])
    return text, ()


def _refuse_slips(text: str, ends: list[int], aliases: Iterable[str]) -> None:
    """Refuse a model with nothing after its ``+``, or with a space beside it."""
    for end in ends:
        model, after = text[:end], text[end + 1 :]
        if model == model.strip() and after[:1].strip():
            continue
        bare, rest = model.strip(), after.strip()
        if exists(bare) or _is_model(bare, aliases):
            why = "a space stands beside the +" if rest else "no edit follows the +"
            raise UsageError(
                "RS130", f"{text!r} was not read: {why}", remedies=[("Write", f"{bare}+{rest or 'no_skip'}")]
            )


def _ends(text: str, at: int) -> bool:
    return at == len(text) or text[at] in "=@+"


def _is_model(text: str, aliases: Iterable[str]) -> bool:
    return text in demos() or text in aliases or is_target(text) or re.match(r"[a-z_]+:", text) is not None


def _pluses(text: str) -> list[int]:
    """Where the signs ``+`` outside quotes stand."""
    quote, found = "", []
    for i, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES and text[i - 1 : i] == "@":
            quote = letter
        elif letter == "+":
            found.append(i)
    return found


def _parts(text: str) -> tuple[str, ...]:
    """Edits one by one; the ``+`` of a number such as 1e+3 divides nothing."""
    cuts = [-1, *(i for i in _pluses(text) if not re.match(r"\d", text[i + 1 : i + 2])), len(text)]
    return tuple(text[a + 1 : b] for a, b in itertools.pairwise(cuts))


def read_edits(texts: str | Iterable[str]) -> tuple[EditSpec, ...]:
    """Read edits, by what is declared of them.

    Args:
        texts: one text with ``+`` between the edits, or the edits one by one.

    Returns:
        The edits in the order in which they are applied.

    Raises:
        UsageError: an edit or an argument is unknown, cannot be read, or is meant for layer 0.

    Example:
        >>> [str(edit) for edit in read_edits("lambda_skip=1.50,2@'h.*'+no_skip@last")]
        ['lambda_skip=1.5,2@h.*', 'no_skip@last']
    """
    parts = _parts(texts) if isinstance(texts, str) else tuple(texts)
    return tuple(_read(part.strip()) for part in parts)


def check_edited(text: str, flags: Mapping[str, Any], aliases: Mapping[str, str]) -> None:
    """Refuse a MODEL, or edits after it, that cannot be meant; nothing of the user's is imported.

    Args:
        text: MODEL.
        flags: fields of `LoadOptions` that were given.
        aliases: names of models from the configuration.
    """
    model, edits = split_model(text, aliases)
    read_edits(edits)
    check_model(model, flags, aliases)


def _read(text: str) -> EditSpec:
    head, at, layers = text.partition("@")
    name, equals, values = head.partition("=")
    known = known_edits()
    if name.strip() not in known:
        error = unknown_name("edit", name.strip(), list(known))
        raise error
    declared = known[name.strip()]
    items = [item.strip() for item in values.split(",")] if equals else []
    return EditSpec(declared.name, _arguments(declared, items, text), layers_of(layers, text) if at else EVERY)


def layers_of(selector: str, text: str) -> Selector:
    """Read the layers that an edit is meant for.

    Args:
        selector: what stands after ``@``.
        text: the whole edit, for the error.

    Returns:
        The selector.

    Raises:
        UsageError: no layer is named, or layer 0, the input of the first block, at which nothing can be edited.

    Example:
        >>> layers_of("6..8", "no_skip@6..8").high
        8
    """
    where = parse_selector(selector)
    if where.kind == "glob" and "," in selector and selector.strip()[0] not in _QUOTES:
        head, parts = text.partition("@")[0], [part.strip() for part in selector.split(",") if part.strip()]
        raise UsageError(
            "RS130",
            f"edit {text!r} was not read: after @ stands one index, a..b, first, last, *, or a glob in quotes",
            remedies=[("Several of them", "+".join(f"{head}@{part}" for part in parts))],
        )
    if where.kind == "range" and where.low == 0:
        raise UsageError(
            "RS131",
            f"edit {text!r} was not read: layer 0 is the input of the first block, which no layer makes",
            remedies=[("The first block is layer 1", text.replace("@0", "@1", 1))],
        )
    return where


def options_of(declared: Declaration) -> dict[str, Parameter]:
    """The arguments of an edit; its first parameter is what it acts on.

    Args:
        declared: what is declared of it.

    Returns:
        Name to annotation and default.
    """
    return dict(list(declared.parameters.items())[1:])


def _arguments(declared: Declaration, items: list[str], text: str) -> dict[str, Any]:
    """The values of an edit: in order, or by name; what follows a list belongs to it."""
    options = options_of(declared)
    texts: dict[str, list[str]] = {}
    key = ""
    for item in items:
        before, equals, value = item.partition("=")
        if equals:
            key = before.strip()
            if key not in options:
                error = unknown_name(f"argument of {declared.name}:", key, list(options))
                raise error
            if key in texts:
                raise wrong(text, f"{key!r} is given twice")
        elif not (key and options[key].kind == "Numbers"):
            value, key = item, next((name for name in options if name not in texts), "")
            if not key:
                takes = ", ".join(options) or "no argument"
                raise wrong(text, f"{declared.name} takes {takes}; {item!r} is one too many")
        else:
            value = item
        texts.setdefault(key, []).append(value.strip())
    missing = [name for name, option in options.items() if option.default is None and name not in texts]
    if missing:
        means = "; ".join(f"{name}: {declared.meanings.get(name, '')}" for name in missing)
        raise wrong(text, f"{declared.name} needs {means}")
    found = {name: read_value(text, name, texts[name], options[name].kind) for name in options if name in texts}
    for name, value in found.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float):
                check_number(declared, name, number, text)
    return found
