"""Searches: what `--until` asks for, and whether there is a single number that can be searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.edits import known_edits
from rankscope.errors import UsageError
from rankscope.requirements import Requirement, insist_on_rules, parse

if TYPE_CHECKING:
    from rankscope.sweeps.spots import Asked


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched: the rule that must hold, and the value of the edit that changes nothing."""

    rule: Requirement
    neutral: float
    per_layer: bool = False


def search_of(asked: Asked, until: str | Requirement | None, per_layer: bool) -> Search | None:
    """Read ``--until``, and refuse it where there is no single number to search.

    Args:
        asked: what is swept.
        until: the rule, if there is one.
        per_layer: whether each layer gets a value of its own.

    Returns:
        The search; None where none is asked for.

    Raises:
        UsageError: the sweep is not over the one number of one edit of one model, or no value of it changes nothing.
    """
    if until is None:
        if per_layer:
            raise UsageError("RS475", "--per-layer belongs to --until, and there is none", remedies=[_EXAMPLE])
        return None
    rule = until if isinstance(until, Requirement) else parse(until)
    insist_on_rules([rule])
    numbers = [axis for axis in asked.axes if axis.selector is None]
    words = any(isinstance(value, str) for axis in numbers for value in axis.values)
    if not len(asked.edits) == len(asked.axes) == 1 == len(numbers) or words:
        headline = "--until searches the one number of one edit of one model, and this sweep is over something else"
        raise UsageError("RS475", headline, remedies=[_EXAMPLE])
    name = numbers[0].name.partition(".")[0]
    neutral = known_edits()[name].keywords.get("neutral")
    if not isinstance(neutral, int | float):
        known = [each for each, entry in known_edits().items() if entry.keywords.get("neutral") is not None]
        told = [("edits that can be searched", ", ".join(known))]
        raise UsageError("RS475", f"--until: no value of {name} is known to change nothing", details=told)
    return Search(rule, float(neutral), per_layer)


_EXAMPLE = ("Such as", "--edit 'lambda_skip=1:20:5' --until 'mu_bar >= 0.3 @ last'")
