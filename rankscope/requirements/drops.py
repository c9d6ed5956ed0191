"""Drops: how far a measure fell under its baseline, layer by layer; a layer that was added or is gone fails."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rankscope.errors import UsageError
from rankscope.requirements.baseline import DIGITS, NAME, healthy_end
from rankscope.requirements.coverage import Cell, aggregated, compared_with, covered, no_layer, over_depth, select
from rankscope.requirements.findings import Finding
from rankscope.requirements.names import Name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankscope.records import Report
    from rankscope.requirements.baseline import Baseline
    from rankscope.requirements.coverage import Cells
    from rankscope.requirements.grammar import Requirement

_SLACK = 0.5 * 10.0 ** (1 - DIGITS)  # what rounding to the digits of a baseline can take away, as a share


def drops(report: Report, rule: Requirement, baseline: Baseline | None) -> Iterator[Finding]:
    """Hold a rule on a drop against a report and its baseline.

    Args:
        report: the report.
        rule: one whose operator is ``max_drop``; a percentage is one of the value in the baseline.
        baseline: what the drop is counted from.

    Yields:
        A finding for each number, or for each stack where the rule is on an aggregate.

    Raises:
        UsageError: there is no baseline, the rule matches no layer, or a drop of the measure is no loss.
    """
    if baseline is None:
        remedies = [("Record one", f"--update-baseline writes {NAME}"), ("Name one", f"--baseline {NAME}")]
        raise UsageError("RS122", f"'{rule}' has no baseline to count from", remedies=remedies)
    name = Name.of(rule.measure)
    cells = covered(report, rule.measure)
    if healthy_end(name.measure) == "low":
        headline = f"'{rule}' would let a collapse pass: {name.measure} rises where representations get poorer"
        raise UsageError("RS118", headline, remedies=[("Limit it instead", f"--max {rule.measure}=NUMBER")])
    baseline.check_same(report, [name.measure])
    then = _recorded(baseline, name)
    now, before = select(rule, cells), select(rule, then)
    if not now and not before:
        error = no_layer(rule, cells)
        raise error
    for stack in dict.fromkeys([*now, *before]):
        found = [*_stack(rule, stack, cells, now.get(stack, ()), then, before.get(stack, ()), baseline)]
        missed = ((f.layer, f.value) for f in found if f.status == "failed")
        first = next(((layer, value) for layer, value in missed if layer and isinstance(value, float)), None)
        yield from (replace(finding, first=first) for finding in found)


def _recorded(baseline: Baseline, name: Name) -> Cells:
    """The values of a baseline as cells, so that a selector means the same there as in a report."""
    found: dict[str, list[Cell]] = {}
    sound: dict[str, list[int]] = {}
    for entry in baseline.layers:
        for label, value in sorted(entry.values.items()):
            if Name.of(label.partition(" ")[0]).measure == name.measure:
                sound.setdefault(entry.stack, []).append(entry.index)
            if name.labels(label):
                found.setdefault(entry.stack, []).append(Cell(entry.index, entry.name, value=value, label=label))
    first = {stack: compared_with(name.measure, layers) for stack, layers in sound.items()}
    return {stack: tuple(c for c in cells if c.layer_index != first[stack]) for stack, cells in found.items()}


def _stack(
    rule: Requirement,
    stack: str,
    cells: Cells,
    now: tuple[Cell, ...],
    then: Cells,
    before: tuple[Cell, ...],
    baseline: Baseline,
) -> Iterator[Finding]:
    """One stack: layers that were added, layers and numbers that are gone, then the numbers."""
    every = cells.get(stack, ())
    layers, numbers = {cell.layer for cell in every}, {(cell.layer, cell.label) for cell in every}
    missing = {cell.layer for cell in every if not cell.label}
    recorded = {entry.name for entry in baseline.layers if entry.stack == stack}
    added = [cell for cell in now if cell.layer not in recorded]
    gone = [cell for cell in before if (cell.layer, cell.label) not in numbers and cell.layer not in missing]
    values = over_depth(every)
    for cell in added:
        found = _finding(rule, stack, cell, values, None)
        yield replace(found, status="failed", reason="the baseline holds no such layer: it was added")
    for cell in gone:
        found = _finding(rule, stack, cell, values, cell.value)
        what = f"{cell.label} of this layer, which the baseline holds," if cell.layer in layers else "the layer"
        yield replace(found, status="failed", value=None, reason=f"{what} is gone")
    if rule.aggregate == "each":
        known = {(cell.layer, cell.label): cell.value for cell in then.get(stack, ())}
        for cell in now:
            if cell.layer in recorded:
                yield _finding(rule, stack, cell, values, known.get((cell.layer, cell.label)))
    elif not added and not gone:
        value, reason = aggregated(now, rule.aggregate)
        base, _ = aggregated(before, rule.aggregate) if before else (None, None)
        found = _finding(rule, stack, Cell(0, "", value=value, reason=reason), values, base)
        yield replace(found, layer_index=None, layer=None)


def _finding(
    rule: Requirement, stack: str, cell: Cell, values: tuple[float | None, ...], base: float | None
) -> Finding:
    """One number against the one it is counted from."""
    limit = None if base is None else _limit(rule, base)
    found = Finding(rule, "undefined", stack, cell.layer_index, cell.layer, cell.head, cell.parameter, cell.value)
    found = replace(found, limit=limit, baseline=base, values=values)
    if cell.value is None or limit is None or base is None:
        return replace(found, reason=cell.reason or f"the baseline holds no {rule.measure} of this layer")
    return replace(found, status="ok" if cell.value >= limit - _SLACK * abs(base) else "failed")


def _limit(rule: Requirement, base: float) -> float:
    """The least value that the rule allows."""
    amount = float(rule.limit)
    return base - (amount / 100 * abs(base) if rule.percent else amount)
