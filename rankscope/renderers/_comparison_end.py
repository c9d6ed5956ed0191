"""The end of two models: each measure at the last layers that stand beside each other, and where it differs first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.records import display_name
from rankscope.renderers._comparison import label, sign
from rankscope.table import TELLING, numbers

if TYPE_CHECKING:
    from rankscope.comparison import Difference, Pair


@dataclass(frozen=True, slots=True)
class End:
    """One measure: its label, and the texts under the headings."""

    label: str
    texts: tuple[str, ...]


def headings(pair: Pair) -> tuple[str, ...]:
    """The headings of the numbers.

    Args:
        pair: any.

    Returns:
        As many as an `End` has texts.
    """
    a, b = pair.reference, pair.other
    return (f"last {a}", f"last {b}", f"{b} − {a}", "99 % interval", f"{b} / {a}", "differs from")


def ends(pair: Pair, unicode: bool = True) -> list[End]:
    """Each measure at the last layer where both have it.

    Args:
        pair: any.
        unicode: whether the signs are.

    Returns:
        The most telling measures first.
    """
    last: dict[str, Difference] = {}
    for entry in pair.differences:
        if entry.difference is not None and entry.head is None:
            before = last.get(label(entry))
            if before is None or (before.stack, before.layer_index) != (entry.stack, entry.layer_index):
                last[label(entry)] = entry
    first = {(found.measure, found.site): found.layer for found in pair.first_of}
    ordered = sorted(last.items(), key=lambda item: _order(item[1]))
    return [End(name, _texts(entry, first.get((entry.measure, entry.site)), unicode)) for name, entry in ordered]


def signed(value: float | None, digits: int) -> str:
    """A difference with its sign.

    Args:
        value: a number or None.
        digits: how many are told.

    Returns:
        The text, empty for None.

    Example:
        >>> signed(0.125, 2), signed(0.0, 2)
        ('+0.12', '0')
    """
    return "" if value is None else f"{value:+.{digits}g}" if value else "0"


def _order(entry: Difference) -> int:
    return TELLING.index(entry.measure) if entry.measure in TELLING else len(TELLING)


def _texts(entry: Difference, first: str | None, unicode: bool) -> tuple[str, ...]:
    """The numbers of one measure."""
    a, b = numbers([entry.reference, entry.other])
    dots = "…" if unicode else ".."
    interval = "" if entry.low is None or entry.high is None else f"{entry.low:+.2g} {dots} {entry.high:+.2g}"
    ratio = "" if entry.ratio is None else f"{entry.ratio:.3g}"
    where = display_name(first) if first is not None else {"untested": "not tested"}.get(entry.outcome, "nowhere")
    return (a, f"{b}{sign(entry, unicode)}", signed(entry.difference, 3), interval, ratio, where)
