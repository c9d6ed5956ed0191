"""Rules as they are typed: ``[AGG(]MEASURE[)] OP NUMBER[%] [@ SELECTOR]``, and what they stand for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from rankscope.errors import UsageError
from rankscope.registry import unknown_name
from rankscope.selectors import EVERY, Selector, parse_selector

Aggregate = Literal["each", "min", "max", "mean", "median"]
Operator = Literal[">=", ">", "<=", "<", "==", "!=", "max_drop"]
Severity = Literal["error", "warn"]
Limits = Mapping[str, "float | str"] | Iterable[str] | None
"""What ``--min`` is given: texts ``MEASURE=NUMBER[%][@SELECTOR]``, or a table of measures and their limits."""

WORDS = {
    "verdict": ("healthy", "thinning", "collapsed"),
    "decay": ("none", "growing", "exponential", "doubly_exponential"),
}
"""What a rule on the depth of a stack can name, and the words it can compare with."""

_OPERATOR = re.compile(r">=|<=|==|!=|=>|=<|[<>=≥≤≠]")
_LEFT = re.compile(r"(?:(?P<aggregate>\w+)\s*\(\s*(?P<inner>[^()]*?)\s*\)|(?P<plain>[^()]*))")
_NAME = re.compile(r"[A-Za-z_]\w*(?::\w+)*", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_FLAGS = {"min": ">=", "max": "<=", "max_drop": "max_drop"}
_QUOTED = "As a rule, in quotes"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One rule. Its text reads back to an equal one, but for a drop, which is a flag and no rule of the grammar.

    `measure` is a name as reports and tables have it (``mu_bar``, ``pooled:effective_rank``, ``value_cosine:head0``,
    ``cross:attention_entropy``), or ``verdict`` or ``decay``, whose `limit` is a word. A `percent` is one of the
    ceiling of the measure, for a drop one of the value in the baseline.
    """

    measure: str
    operator: Operator
    limit: float | str
    percent: bool = False
    aggregate: Aggregate = "each"
    selector: Selector = EVERY
    severity: Severity = "error"
    reason: str | None = None

    @property
    def of_depth(self) -> bool:
        """Whether it is about the verdict of a stack."""
        return self.measure in WORDS

    @property
    def left(self) -> str:
        """What is compared, as it is written."""
        return self.measure if self.aggregate == "each" else f"{self.aggregate}({self.measure})"

    @property
    def key(self) -> tuple[str, str, Selector]:
        """What a rule of the command line has to share with one of the configuration to replace it."""
        return (self.left, self.operator, self.selector)

    def __str__(self) -> str:
        limit = self.limit if isinstance(self.limit, str) else f"{spelt(self.limit)}{'%' if self.percent else ''}"
        place = "" if self.selector.kind == "all" else f" @ {self.selector}"
        if self.operator == "max_drop":
            return f"max-drop {self.left}={limit}{place}"
        return f"{self.left} {self.operator} {limit}{place}"


def spelt(number: float) -> str:
    """A number with all the digits that it has, and no more.

    Args:
        number: finite.

    Returns:
        Text that reads back to the number.

    Example:
        >>> spelt(4.0), spelt(0.05), spelt(1e-9)
        ('4', '0.05', '1e-09')
    """
    return repr(int(number)) if number == int(number) and abs(number) < 1e15 else repr(float(number))


def parse(text: str) -> Requirement:
    """Read a rule.

    Args:
        text: ``[AGG(]MEASURE[)] OP NUMBER[%] [@ SELECTOR]``, or ``verdict != collapsed``.

    Returns:
        The requirement.

    Raises:
        UsageError: the text is no rule, or what a shell leaves of one.

    Example:
        >>> rule = parse("min(effective_rank) >= 4 @ blocks.*")
        >>> rule.aggregate, rule.measure, rule.operator, rule.limit, rule.selector.glob
        ('min', 'effective_rank', '>=', 4.0, 'blocks.*')
    """
    found = _OPERATOR.search(text.partition("@")[0])
    if found is None:
        error = _mangled(text, f"{text!r} is no rule: it holds no operator")
        raise error
    left, right = text[: found.start()].strip(), text[found.end() :]
    aggregate, measure = _left(text, left)
    word, at, place = right.partition("@")
    if not word.strip():
        error = _mangled(text, f"{text!r} is no rule: nothing stands after {found[0]}")
        raise error
    selector = parse_selector(place) if at else EVERY
    operator = _operator(text, found[0], measure)
    if measure in WORDS:
        return _depth_rule(text, measure, operator, word.strip(), aggregate != "each" or bool(at))
    limit, percent = _number(text, word)
    return Requirement(measure, operator, limit, percent, aggregate, selector)


def from_flags(
    min: Limits = None,  # noqa: A002 - the names of the flags
    max: Limits = None,  # noqa: A002
    max_drop: Limits = None,
) -> tuple[Requirement, ...]:
    """The requirements that the flags ``--min``, ``--max`` and ``--max-drop`` ask for.

    Args:
        min: texts ``MEASURE=NUMBER[%][@SELECTOR]``, or measures and their limits: the value is at least that.
        max: the value is at most that.
        max_drop: the value is at most that much under the baseline.

    Returns:
        The requirements, those of `min` first.

    Example:
        >>> [str(rule) for rule in from_flags(min={"mu_bar": 0.05}, max=["value_cosine=0.99@last"])]
        ['mu_bar >= 0.05', 'value_cosine <= 0.99 @ last']
    """
    found: list[Requirement] = []
    for flag, given in (("min", min), ("max", max), ("max_drop", max_drop)):
        if isinstance(given, Mapping):
            given = [f"{measure}={_limit(flag, measure, limit)}" for measure, limit in given.items()]
        texts = [given] if isinstance(given, str) else given or ()
        found += [_flag(flag, text) for text in texts]
    return tuple(found)


def combine(configured: Iterable[Requirement], given: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """The rules of a configuration and those of the command line together.

    Args:
        configured: those of the configuration.
        given: those of the command line; one replaces those of the configuration with the same measure, operator and
            selector.

    Returns:
        What is left of the configuration, then what was given, without what was given twice.
    """
    given = tuple(dict.fromkeys(given))
    replaced = {rule.key for rule in given}
    return (*(rule for rule in configured if rule.key not in replaced), *given)


def _flag(flag: str, text: str) -> Requirement:
    """The requirement of one flag."""
    option = f"--{flag.replace('_', '-')} {text}"
    name, equals, right = text.partition("=")
    word, at, place = right.partition("@")
    if not equals or not word.strip() or _OPERATOR.search(name):
        error = _mangled(option, f"{option} is no rule: MEASURE=NUMBER is expected")
        raise error
    aggregate, measure = _left(option, name.strip())
    if measure in WORDS:
        remedy = ("Compare it with a word", f"--require '{measure} != {WORDS[measure][-1]}'")
        raise UsageError("RS115", f"{option} is no rule: a {measure} is no number", remedies=[remedy])
    limit, percent = _number(option, word)
    if flag == "max_drop" and limit < 0:
        told = ("How far it may fall", f"--max-drop {name.strip()}={word.strip().lstrip('-')}")
        raise UsageError("RS115", f"{option} is no rule: a drop is not negative", remedies=[told])
    selector = parse_selector(place) if at else EVERY
    operator: Operator = "max_drop" if flag == "max_drop" else ">=" if flag == "min" else "<="
    return Requirement(measure, operator, limit, percent, aggregate, selector)


def _left(text: str, left: str) -> tuple[Aggregate, str]:
    """What is aggregated how."""
    found = _LEFT.fullmatch(left)
    name = (found["inner"] or found["plain"] or "") if found else ""
    if found is None or not _NAME.fullmatch(name):
        headline = f"{text!r} is no rule: {left!r} is neither MEASURE nor AGG(MEASURE)"
        raise UsageError("RS115", headline, remedies=_examples(text))
    word = found["aggregate"] or "each"
    for known in get_args(Aggregate):
        if word == known:
            return known, name
    error = unknown_name("aggregate", word, list(get_args(Aggregate)))
    raise error


def _operator(text: str, found: str, measure: str) -> Operator:
    """The operator, if it goes with what stands before it."""
    words = measure in WORDS
    known: tuple[Operator, ...] = ("==", "!=") if words else (">=", ">", "<=", "<")
    for operator in known:
        if found == operator:
            return operator
    allowed = "== and !=" if words else ">=, >, <= and <"
    thing = f"the {measure} of a stack" if words else "a number"
    headline = f"{text!r} is no rule: {found} is not among the operators of {thing}, {allowed}"
    raise UsageError("RS115", headline, remedies=_examples(text))


def _number(text: str, word: str) -> tuple[float, bool]:
    """A finite number, and whether it is a percentage."""
    plain = word.strip()
    percent = plain.endswith("%")
    digits = plain.removesuffix("%").strip()
    number = float(digits) if _NUMBER.fullmatch(digits) else math.nan
    if not math.isfinite(number):
        headline = f"{text!r} is no rule: {plain!r} is no finite number"
        raise UsageError("RS115", headline, remedies=_examples(text))
    return number, percent


def _depth_rule(text: str, measure: str, operator: Operator, word: str, placed: bool) -> Requirement:
    """A rule on the verdict of a stack."""
    if placed:
        headline = f"{text!r} is no rule: the {measure} is one of the whole stack, without a layer or an aggregate"
        raise UsageError("RS115", headline, remedies=[("Without it", f"--require '{measure} {operator} {word}'")])
    if word not in WORDS[measure]:
        error = unknown_name(measure, word, list(WORDS[measure]))
        raise error
    return Requirement(measure, operator, word)


def _limit(flag: str, measure: str, limit: object) -> object:
    """A limit of a table, which is one number or text."""
    if isinstance(limit, int | float | str) and not isinstance(limit, bool):
        return limit
    headline = f"{flag} of {measure} is no number and no text such as '0.05@last'"
    several = ("Several limits of one measure", f'{flag} = ["{measure}=0.05@last", "{measure}=0.01"]')
    raise UsageError("RS115", headline, remedies=[several] if isinstance(limit, list | tuple) else ())


def _mangled(text: str, headline: str) -> UsageError:
    """The error for what a shell leaves of a rule."""
    told = [("did the shell take your < or >?", "without quotes it writes a file and passes the rest")]
    return UsageError("RS116", headline, details=told, remedies=_examples(text))


def _examples(text: str) -> list[tuple[str, str]]:
    """Rules of the kind that a text was meant to be."""
    for word, known in WORDS.items():
        if re.match(rf"\W*(\w+\s*\()?\s*{word}\b", text):
            return [(_QUOTED, f"--require '{word} != {known[-1]}'")]
    flag = {"--max": "--max value_cosine=0.99@last", "--max-drop": "--max-drop effective_rank=10%"}
    by_flag = ("By a flag", flag.get(text.partition(" ")[0], "--min mu_bar=0.05@last"))
    return [by_flag] if text.startswith("--max-drop") else [by_flag, (_QUOTED, "--require 'mu_bar >= 0.05 @ last'")]
