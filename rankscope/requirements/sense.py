"""Sense: percentages that no number can break, or none can keep, are slips and no rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.declarations import declaration
from rankscope.errors import UsageError
from rankscope.requirements.names import Name

if TYPE_CHECKING:
    from rankscope.requirements.grammar import Requirement


def insist_on_sense(rule: Requirement) -> None:
    """Refuse a percentage of more than there is.

    A value is at most its ceiling, so that none is more than 100 % of it; and one that is never negative cannot fall by
    more than all of it.

    Args:
        rule: any rule.

    Raises:
        UsageError: no number could break the rule, or none could keep it.

    Example:
        >>> from rankscope.requirements.grammar import parse
        >>> insist_on_sense(parse("mu_bar >= 5%"))
    """
    if not rule.percent:
        return
    share = float(rule.limit)
    if rule.operator == "max_drop":
        if share >= 100 and _never_negative(rule.measure):
            headline = (
                f"'{rule}' could never fail: {rule.measure} is never negative, so it cannot fall by more than 100%"
            )
            raise UsageError("RS118", headline, remedies=[("A tenth", f"--max-drop {rule.left}=10%")])
        return
    rising = rule.operator in {">=", ">"}
    if share > 100 or (share == 100 and rule.operator in {">", "<="}):
        never = "hold" if rising else "fail"
        headline = f"'{rule}' could never {never}: 100% is the ceiling of {rule.measure}, the most that it can be"
        flag = "--min" if rising else "--max"
        raise UsageError(
            "RS118", headline, remedies=[("A share of the ceiling", f"{flag} {rule.left}={_likely(share)}%")]
        )


def _never_negative(measure: str) -> bool:
    """Whether a measure has no values under 0."""
    known = declaration("measures", "measure", Name.of(measure).measure)
    low = known.keywords.get("bounds", (None, None))[0] if known else None
    return isinstance(low, int | float) and low >= 0


def _likely(share: float) -> str:
    """What may have been meant: 5 for 500."""
    return "5" if share > 100 else "99"
