"""Until: the smallest edit that keeps a requirement, found by a scan, then by bisection where the answer changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rankscope.requirements import judge, parse
from rankscope.sweeps.axes import shown
from rankscope.sweeps.curves import finals
from rankscope.sweeps.digits import between, brief, brief_edit
from rankscope.sweeps.records import Found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rankscope.records import Report
    from rankscope.requirements import Requirement
    from rankscope.requirements.findings import Outcome
    from rankscope.sweeps.axes import Template
    from rankscope.sweeps.records import Point

STEPS = 12  # halvings of a bracket: it ends 4,096 times as narrow
LAYER_STEPS = 6  # the same for one layer of many
CLOSE = 0.01  # of the size of the edit: a narrower bracket is an answer
LOSS_LIMIT = 0.1  # a loss that rises by more is called ruined [ours]


def outcome(report: Report | None, rule: Requirement) -> Outcome:
    """What comes of a rule at one point: it must be shown to hold.

    Args:
        report: of the point; None where it could not be measured.
        rule: any rule that needs no baseline.

    Returns:
        ``"ok"``, ``"failed"`` or ``"undefined"``.
    """
    return "undefined" if report is None else judge(report, [rule]).status(rule)


@dataclass(frozen=True, slots=True)
class Bracket:
    """Two values of one side of the neutral one between which the answer changes: `low` fails, `high` keeps."""

    low: float
    high: Point
    monotone: bool

    @property
    def value(self) -> float:
        """The value that keeps the rule."""
        return number_of(self.high)


def number_of(point: Point) -> float:
    """The one number that is swept."""
    return float(next(iter(point.values.values())))


def brackets(points: Iterable[Point], neutral: float, reference: Outcome) -> list[Bracket]:
    """Where the answer changes first on each side of the value that changes nothing.

    Args:
        points: of the scan, judged.
        neutral: the value that changes nothing.
        reference: what came of the rule there.

    Returns:
        At most one bracket a side, the nearest first; none where the rule holds without an edit.
    """
    if reference == "ok":
        return []
    known = sorted(points, key=lambda point: abs(number_of(point) - neutral))
    found = []
    for side in (1, -1):
        low, high, monotone = neutral, None, True
        for point in known:
            if (number_of(point) - neutral) * side <= 0:
                continue
            if high is None and point.keeps == "ok":
                high = point
            elif high is None:
                low = number_of(point)
            elif point.keeps != "ok":
                monotone = False
        if high is not None:
            found.append(Bracket(low, high, monotone))
    return sorted(found, key=lambda bracket: abs(bracket.value - neutral))


def narrowed(bracket: Bracket, neutral: float, measure: Callable[[float], Point], steps: int = STEPS) -> Bracket:
    """Halve a bracket until it is narrow beside the size of the edit.

    Args:
        bracket: where the answer changes.
        neutral: the value that changes nothing.
        measure: gives the judged point of a value.
        steps: halvings at most.

    Returns:
        The bracket that is left.
    """
    for _ in range(steps):
        if abs(bracket.value - bracket.low) <= CLOSE * abs(bracket.value - neutral):
            break
        middle = between(bracket.low, bracket.value)
        if middle == bracket.low:
            break
        point = measure(middle)
        bracket = replace(bracket, high=point) if point.keeps == "ok" else replace(bracket, low=middle)
    return bracket


def search(
    rule: Requirement,
    edit: Template,
    points: Sequence[Point],
    reference: Point,
    neutral: float,
    measure: Callable[[float], Point],
) -> Found:
    """The value nearest to the neutral one that keeps a rule.

    The scan comes first, so that a rule that holds on an island is seen; between two points of the scan the answer is
    taken to change once.

    Args:
        rule: what must hold.
        edit: whose one number is searched.
        points: of the scan, judged.
        reference: the model without the edit, judged.
        neutral: the value that changes nothing.
        measure: gives the judged point of a value.

    Returns:
        What was found.
    """
    state: Outcome = reference.keeps or "undefined"
    sides = [narrowed(side, neutral, measure) for side in brackets(points, neutral, state)]
    best = min(sides, key=lambda side: abs(side.value - neutral), default=None)
    monotone = all(side.monotone for side in sides) if sides else None
    found = Found(
        rule=str(rule),
        edit=None if best is None else edit.text([best.value]),
        value=None if best is None else best.value,
        neutral=neutral,
        low=None if best is None else best.low,
        high=None if best is None else best.value,
        monotone=monotone,
        reference_keeps=state,
        sentence="",
    )
    return told(found, None if best is None else best.high, reference, points)


def per_layer(
    found: Found,
    edit: Template,
    layers: Sequence[int],
    measure: Callable[[str], Point],
    reference: Point,
    points: Sequence[Point],
) -> Found:
    """A list of smaller values, a value a layer, by one greedy pass over the layers.

    Every layer begins at a value of the scan that keeps the rule with something to spare: at the edge itself no layer
    could be brought back. The layer that is needed least is tried first, as the measure says when it alone has no edit.
    Each takes the value that changes nothing where the rule then still holds, else the smallest that keeps it, while
    the others stay. Another order may give another list.

    Args:
        found: what one value for all layers came to.
        edit: whose number is searched.
        layers: indices of those that are edited.
        measure: gives the judged point of an edit.
        reference: the model without the edit.
        points: of the scan, and that of the answer.

    Returns:
        The same with `layers`, and with the edit that they make; the one value for all layers where no list is smaller.
    """
    if found.value is None:
        return found
    neutral, value = found.neutral, found.value
    begin = _beginning(found, points)
    chosen = dict.fromkeys(layers, number_of(begin))
    best = begin

    def attempt(layer: int, to: float) -> Point:
        trial = {k: v for k, v in {**chosen, layer: to}.items() if v != neutral}
        return measure(edit.per_layer(trial) if trial else "")

    rule = parse(found.rule)
    for layer in sorted(layers, key=lambda layer: _need(attempt(layer, neutral), rule)):
        free = attempt(layer, neutral)
        if free.keeps == "ok":
            chosen[layer], best = neutral, free
            continue
        low = neutral
        for _ in range(LAYER_STEPS):
            middle = between(low, chosen[layer])
            if middle == low:
                break
            point = attempt(layer, middle)
            if point.keeps == "ok":
                chosen[layer], best = middle, point
            else:
                low = middle
    start = brief_edit(edit.text([number_of(begin)]))
    if sum(abs(each - neutral) for each in chosen.values()) >= len(layers) * abs(value - neutral):
        return replace(found, sentence=f"{found.sentence} Layer by layer, from {start} on, no smaller list was found.")
    listed = edit.per_layer({layer: each for layer, each in chosen.items() if each != neutral})
    spared = sum(each == neutral for each in chosen.values())
    more = (
        f"Layer by layer, from {start} on, it is {brief_edit(listed)}: {spared} of {len(layers)} layers need no edit; "
        "another order may give another list."
    )
    return told(replace(found, layers=tuple(chosen.items())), best, reference, points, (listed, more))


def _beginning(found: Found, points: Sequence[Point]) -> Point:
    """Where a pass over the layers begins: the nearest value that keeps the rule and is not at the edge."""
    assert found.value is not None
    size = found.value - found.neutral
    known = [p for p in points if p.keeps == "ok" and (number_of(p) - found.neutral) * size > 0]
    known.sort(key=lambda point: abs(number_of(point) - found.neutral))
    spare = [p for p in known if p.origin == "range" and abs(number_of(p) - found.neutral) > (1 + CLOSE) * abs(size)]
    return (spare or known)[0]


def _need(point: Point, rule: Requirement) -> tuple[bool, float]:
    """How much a layer is needed, by what comes without its edit: the rule breaks, and how far the measure goes."""
    end = finals(point).get(rule.measure)
    return (point.keeps != "ok", 0.0 if end is None else -end if rule.operator.startswith(">") else end)


def told(
    found: Found,
    best: Point | None,
    reference: Point,
    points: Sequence[Point],
    listed: tuple[str, str] | None = None,
) -> Found:
    """What was found, with its sentence and the change of the loss.

    Args:
        found: the numbers.
        best: the point of the answer.
        reference: the model without the edit.
        points: of the scan.
        listed: the edit with a value for each layer, and what is said of it; the edit replaces that of one value.

    Returns:
        The whole record.
    """
    before, after = reference.loss, None if best is None else best.loss
    change = None if before is None or after is None or not before else (after - before) / abs(before)
    whole = replace(found, loss=after, reference_loss=before, loss_change=change)
    whole = replace(whole, sentence=" ".join(_sentences(whole, points, listed[1] if listed else "")))
    return whole if listed is None else replace(whole, edit=listed[0])


def _sentences(found: Found, points: Sequence[Point], more: str) -> Iterable[str]:
    if found.reference_keeps == "ok":
        yield f"{found.rule}: holds without any edit."
        return
    if found.edit is None:
        judged = sum(point.keeps != "undefined" for point in points)
        undefined = len(points) - judged
        lost = f"; at {undefined} it could not be judged" if undefined else ""
        yield f"{found.rule}: no value that was tried keeps it ({len(points)} points{lost})."
        return
    assert found.low is not None
    alike = ", the same for all layers," if more else ""
    kept, low = brief_edit(found.edit), brief(found.low)
    low = low if found.value is None or low != brief(found.value) else shown(found.low)
    yield f"{found.rule}: the smallest edit{alike} that keeps it is {kept}; {low} fails."
    if found.monotone is False:
        yield "The scan is not monotone: a larger edit fails again."
    if more:
        yield more
    yield _of_loss(found)


def _of_loss(found: Found) -> str:
    """What the edit does to the loss, in words."""
    if found.loss is None or found.reference_loss is None or found.loss_change is None:
        return "What it does to the loss is not known."
    change = f"The loss goes from {found.reference_loss:.4g} to {found.loss:.4g} ({100 * found.loss_change:+.0f} %)"
    if not found.loss_change <= LOSS_LIMIT:
        limit = f"more than the {100 * LOSS_LIMIT:.0f} % that is let pass here"
        return f"{change}, {limit}: an edit that keeps the tokens apart and ruins the loss is not a remedy."
    return f"{change}."
