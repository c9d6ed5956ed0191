"""Axes: what a sweep changes from point to point, read off the options without torch."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rankscope.edits import known_edits, options_of, read_edits
from rankscope.errors import UsageError
from rankscope.records import display_name
from rankscope.registry import unknown_name
from rankscope.requirements.grammar import spelt
from rankscope.selectors import Selector, parse_selector
from rankscope.sweeps.digits import brief
from rankscope.sweeps.ranges import MOST, Value, is_range, runs, values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MODEL, SEED = "model", "seed"
NEXT_EDIT = re.compile(r"\+(?=[A-Za-z_])")  # the next edit; the sign of 1e+3 is none


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that is swept, and a column of the table: its values in order.

    An axis over layers has none before the model was looked at: its `selector` says which are meant.
    """

    name: str
    values: tuple[Value, ...] = ()
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One edit of a template: literal text, with the number of an axis where its value goes; then the place."""

    pieces: tuple[str | int, ...]
    place: str | int | None = None

    def text(self, chosen: Sequence[Value], layers: str | None = None) -> str:
        """The edit with one value of each axis.

        Args:
            chosen: as many values as there are axes.
            layers: what goes before the place.

        Returns:
            Such as ``lambda_skip=2@6..8``.
        """
        words = "".join(piece if isinstance(piece, str) else shown(chosen[piece]) for piece in self.pieces)
        place = shown(chosen[self.place]) if isinstance(self.place, int) else self.place
        place = layers or place
        return words if place is None else f"{words}@{place}"


@dataclass(frozen=True, slots=True)
class Template:
    """An ``--edit`` as it was typed: edits that go together, and the axes that are swept in them."""

    parts: tuple[Part, ...] = ()
    axes: tuple[Axis, ...] = ()

    def text(self, chosen: Sequence[Value]) -> str:
        """All edits with one value of each axis, as they are typed after a model.

        Args:
            chosen: as many values as there are axes.

        Returns:
            Such as ``lambda_skip=2@6..8+no_norm``.
        """
        return "+".join(part.text(chosen) for part in self.parts)

    def per_layer(self, values: Mapping[int, float]) -> str:
        """The edits where every layer has a value of its own.

        Args:
            values: of each layer, by its index.

        Returns:
            Such as ``lambda_skip=2@1..3+lambda_skip=3@4``.
        """
        texts: list[str] = []
        for part in self.parts:
            swept = any(isinstance(piece, int) for piece in part.pieces)
            texts += [part.text([value], run) for run, value in runs(values)] if swept else [part.text([])]
        return "+".join(texts)


@dataclass(frozen=True, slots=True)
class Spot:
    """A point before it is measured: the value of every axis, the model, and the edits on top of it."""

    values: Mapping[str, Value]
    model: Any
    edits: str = ""
    options: Mapping[str, Value] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its values in words, such as ``lambda_skip=2, seed=1``."""
        return label(self.values)


def label(values: Mapping[str, Value], exact: bool = False) -> str:
    """The values of a point in words.

    Args:
        values: of each column.
        exact: whether numbers have all their digits.

    Returns:
        Such as ``lambda_skip=2, seed=1``, or ``drop@3`` of an edit at one layer after the other.

    Example:
        >>> label({"drop@": 3.0, "norm": "pre"})
        'drop@3, norm=pre'
    """
    told = shown if exact else brief
    texts = (f"{name}{'' if over_layers(name) else '='}{told(value)}" for name, value in values.items())
    return display_name(", ".join(texts))


def over_layers(name: str) -> bool:
    """Whether a column holds the layer at which an edit is made.

    Args:
        name: of the column.

    Returns:
        True where it ends with the sign of a place.
    """
    return name.endswith("@")


def shown(value: Value) -> str:
    """A value as it is typed.

    Args:
        value: a number or a word.

    Returns:
        Text that reads back to it.

    Example:
        >>> shown(2.0), shown(-0.5), shown("pre")
        ('2', '-0.5', 'pre')
    """
    return value if isinstance(value, str) else spelt(value)


def template(text: str) -> Template:
    """Read an ``--edit``: a range in it is swept, and where there is none, the layers that it names one at a time.

    Args:
        text: ``EDIT=VALUES[@SELECTOR]``, or ``EDIT@SELECTOR``; a further edit after a ``+`` goes along with it.

    Returns:
        The template.

    Raises:
        UsageError: nothing in it is swept.

    Example:
        >>> template("lambda_skip=1:3:3@2").text([2.0]), template("no_skip@*").axes[0].selector.kind
        ('lambda_skip=2@2', 'all')
    """
    parts = [_taken_apart(part) for part in NEXT_EDIT.split(text.strip())]
    for name, _, _ in parts:
        if name not in known_edits():
            error = unknown_name("edit", name, list(known_edits()))
            raise error
    several = any(is_range(given) for _, given, _ in parts if given) or any(
        given and "," in given and _takes_one(name) for name, given, _ in parts
    )
    axes: list[Axis] = []
    found: list[Part] = []
    for name, given, place in parts:
        pieces = [name] if given is None else [f"{name}=", *_numbers(name, given, several, axes)]
        selector = None if place is None else parse_selector(place)
        if selector is not None and not several and _is_wide(selector) and not axes:
            axes.append(Axis(f"{name}@", selector=selector))
            found.append(Part(tuple(pieces), 0))
        else:
            found.append(Part(tuple(pieces), place))
    if not axes:
        fixed = ("The same edit at every point is a part of the model", f"rankscope sweep 'MODEL+{text}' …")
        raise UsageError(
            "RS471",
            f"--edit {display_name(text)} sweeps nothing: it holds neither a range nor several layers",
            remedies=[("A range", "--edit 'lambda_skip=-20:20:9'"), ("Each layer in turn", "--edit 'drop@*'"), fixed],
        )
    read_edits("+".join(part.text([axis.values[0] if axis.values else 1.0 for axis in axes]) for part in found))
    return Template(tuple(found), tuple(axes))


def _taken_apart(part: str) -> tuple[str, str | None, str | None]:
    """Name, values and selector of one edit."""
    left, at, place = part.partition("@")
    name, equals, given = left.partition("=")
    return name.strip(), given.strip() if equals else None, place.strip() if at else None


def _takes_one(name: str) -> bool:
    """Whether an edit takes a single argument, so that commas are between values of a list."""
    known = known_edits().get(name)
    return known is not None and len(options_of(known)) == 1


def _numbers(name: str, given: str, several: bool, axes: list[Axis]) -> list[str | int]:
    """The arguments of an edit: what is swept becomes an axis, the rest stays as it is."""
    listed = several and _takes_one(name) and not is_range(given) and "," in given
    arguments = [given] if listed else given.split(",")
    swept = [argument for argument in arguments if is_range(argument) or "," in argument]
    pieces: list[str | int] = []
    for number, argument in enumerate(arguments):
        pieces += [","] if number else []
        if argument not in swept:
            pieces.append(argument)
            continue
        own, equals, given_values = argument.rpartition("=")
        column = name if len(swept) == 1 else f"{name}.{own or number + 1}"
        column = column if column not in {axis.name for axis in axes} else f"{column}.{len(axes) + 1}"
        pieces += [f"{own}{equals}", len(axes)]
        axes.append(Axis(column, values(given_values, column)))
    return pieces


def _is_wide(selector: Selector) -> bool:
    """Whether a selector may name more than one layer."""
    return selector.kind in {"all", "glob"} or (selector.kind == "range" and selector.low < selector.high)


def over(texts: Iterable[str] | Mapping[str, Any]) -> tuple[Axis, ...]:
    """Read the ``--over`` options.

    Args:
        texts: ``NAME=VALUES``; from Python also names and their values.

    Returns:
        The axes.

    Raises:
        UsageError: one has no name, or no values.

    Example:
        >>> over(["depth=2,4"])
        (Axis(name='depth', values=(2.0, 4.0), selector=None),)
    """
    from collections.abc import Mapping as Table

    if isinstance(texts, Table):
        texts = [
            f"{name}={given if isinstance(given, str) else ','.join(map(_typed, given))}"
            for name, given in texts.items()
        ]
    found = []
    for text in texts:
        name, equals, given = text.partition("=")
        if not equals or not name.strip():
            example = ("Such as", "--over depth=2:24:4")
            raise UsageError("RS470", f"--over {display_name(text)} is no NAME=VALUES", remedies=[example])
        found.append(Axis(name.strip(), values(given, name.strip())))
    return tuple(found)


def _typed(value: object) -> str:
    return shown(value) if isinstance(value, float | str) else str(value)


def product(axes: Sequence[Axis]) -> list[tuple[Value, ...]]:
    """Every combination of the values of several axes, the last one changing fastest.

    Args:
        axes: with their values.

    Returns:
        Tuples of as many values as there are axes.

    Raises:
        UsageError: two axes share a name, or there are too many points.
    """
    names = [axis.name for axis in axes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError("RS471", f"{', '.join(twice)} is swept twice", remedies=[("Sweep it once", "a list: 1,2,4")])
    size = 1
    for axis in axes:
        size *= len(axis.values)
    if size > MOST:
        raise UsageError("RS470", f"the sweep has {size:,} points; at most {MOST:,} are measured at once")
    return list(itertools.product(*(axis.values for axis in axes)))
