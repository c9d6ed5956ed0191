"""The end of two models: each measure at the last layer of each, and where it differs first."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.records import display_name
from rankscope.renderers._comparison import label
from rankscope.renderers._comparison_cells import other, reference
from rankscope.table import TELLING, at_floor, number, numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.comparison import Comparison, Difference, Pair
    from rankscope.records import Report, Row
    from rankscope.renderers._comparison_cells import Marks

NOT_BESIDE = "the last layers do not stand beside each other"
_FROM = {"differs": "{}", "noise": "unequal from {}, within noise", "untested": "unequal from {}, not tested"}


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


def ends(comparison: Comparison, pair: Pair, marks: Marks) -> list[End]:
    """Each measure at the last layer of each of two models; measures that nowhere have both numbers are left out.

    Args:
        comparison: the one that the pair is of.
        pair: any.
        marks: takes the reasons of what is missing.

    Returns:
        The most telling measures first.
    """
    reports = {subject.letter: subject.report for subject in comparison.subjects}
    both = (reports[pair.reference], reports[pair.other])
    found: dict[str, list[Difference]] = defaultdict(list)
    for entry in pair.differences:
        if entry.head is None:
            found[label(entry)].append(entry)
    told = {name: entries for name, entries in found.items() if any(e.difference is not None for e in entries)}
    ordered = sorted(told.items(), key=lambda item: _order(item[1][0]))
    return [End(name, (*_numbers(entries, both, marks), _where(entries, pair))) for name, entries in ordered]


def _numbers(entries: Sequence[Difference], reports: tuple[Report, Report], marks: Marks) -> tuple[str, ...]:
    """The last number of each, and how they differ where the last layers stand beside each other."""
    at = (entries[-1].stack, entries[-1].layer_index)
    entry = next(each for each in entries if (each.stack, each.layer_index) == at)
    first, second = (_last(entry, report, side) for side, report in enumerate(reports))
    beside = all(
        row is None or (row.stack, row.layer_index) == place
        for row, place in ((first, at), (second, (entry.other_stack, entry.other_index)))
    )
    if beside:
        a, b = numbers([entry.reference, entry.other])
        values = (reference(a, entry, marks), "".join(other(b, entry, marks)))
        return (*values, *_difference(entry, marks))
    a, b = numbers([number(first), number(second)])
    return (_alone(a, first, marks), _alone(b, second, marks), *[marks.dash + marks.missing(NOT_BESIDE)] * 3)


def _last(entry: Difference, report: Report, side: int) -> Row | None:
    """The row of a measure at the last layer of a stack that has one."""
    stack = entry.other_stack if side else entry.stack
    wanted = (stack, entry.site, entry.scope, entry.head, entry.measure, entry.parameter)
    rows = [row for row in report.rows if (row.stack, row.site, row.scope, row.head, row.measure, _own(row)) == wanted]
    return max(rows, key=lambda row: row.layer_index, default=None)


def _own(row: Row) -> str | None:
    """The parameter of a row without the name of its layer."""
    return row.parameter and row.parameter.removeprefix(f"{row.layer}.")


def _alone(text: str, row: Row | None, marks: Marks) -> str:
    """A number that stands beside none."""
    if row is None or number(row) is None:
        return marks.dash + marks.missing((row and row.reason) or "not measured")
    return marks.at_floor(text, at_floor(row))


def _where(entries: Sequence[Difference], pair: Pair) -> str:
    """From which layer on a measure differs: beyond noise, else within it, else what is missing."""
    for outcome, words in _FROM.items():
        for entry in entries:
            if entry.outcome == outcome:
                return words.format(display_name(entry.layer))
    for entry in entries:
        if entry.difference is None and (entry.reference is None) != (entry.other is None):
            letter = pair.reference if entry.reference is None else pair.other
            return f"no number in {letter} at {display_name(entry.layer)}"
    return "nowhere"


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


def _difference(entry: Difference, marks: Marks) -> tuple[str, str, str]:
    """The difference, its interval and the ratio."""
    if entry.difference is None:
        return ("", "", "")
    ratio = marks.dash if entry.at_floor or entry.ratio is None else f"{entry.ratio:.3g}"
    dots = "…" if marks.unicode else ".."
    low, middle, high = spread(entry)
    return (middle, f"{low} {dots} {high}" if low else "", ratio)


def spread(entry: Difference) -> tuple[str, str, str]:
    """A difference and its interval, in as many digits as it takes for the one to lie in the other.

    Args:
        entry: a difference that has a number.

    Returns:
        The lower end, the difference, the upper end; the ends are empty where there are none.
    """
    low, middle, high = entry.low, entry.difference, entry.high
    if middle is None or low is None or high is None:
        return "", signed(middle, 3), ""
    for digits in range(3, 18):
        texts = [signed(value, digits) for value in (low, middle, high)]
        a, b, c = map(float, texts)
        if not low < middle < high or a < b < c:
            break
    return texts[0], texts[1], texts[2]
