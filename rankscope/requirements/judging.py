"""Judging: every rule against a report. A rule must be shown to hold: what cannot be had fails as `undefined`."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import TYPE_CHECKING

from rankscope._version import __version__
from rankscope.errors import UsageError
from rankscope.requirements.coverage import aggregated, covered, no_layer, over_depth, select
from rankscope.requirements.drops import drops
from rankscope.requirements.findings import Finding, Findings
from rankscope.requirements.grammar import WORDS
from rankscope.requirements.sense import insist_on_sense

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rankscope.records import Report
    from rankscope.requirements.baseline import Baseline
    from rankscope.requirements.coverage import Cell, Cells
    from rankscope.requirements.findings import Outcome
    from rankscope.requirements.grammar import Requirement

_HOLDS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
_VERDICT = "rank_one_residual_unit"  # the measure whose entry holds the verdict and the decay of a stack
_FIRST_RULES = (
    ("A limit", "--min mu_bar=0.05@last"),
    ("The verdict", "--require 'verdict != collapsed'"),
    ("For every run, in pyproject.toml", "[[tool.rankscope.require]] rule = 'mu_bar >= 0.05 @ last'"),
)


def judge(
    report: Report, requirements: Sequence[Requirement], baseline: Baseline | None = None, strict: bool = False
) -> Findings:
    """Hold rules against a report.

    Numbers are compared as they are, not as they are shown. A rule on an aggregate, and one on the verdict, gives one
    finding a stack; any other one for each number it covers.

    Args:
        report: any report.
        requirements: the rules.
        baseline: what drops are counted from.
        strict: whether warnings count.

    Returns:
        The findings, in the order of the rules.

    Raises:
        UsageError: there is no rule, one names an unknown measure or matches no layer, or a drop has no baseline.

    Example:
        >>> from rankscope.records import Report, Row
        >>> from rankscope.requirements import parse
        >>> rows = [Row("h", k, f"h.{k}", "block", "sequence", None, None, "mu_bar", 1, 0.5**k) for k in range(3)]
        >>> findings = judge(Report({}, tuple(rows)), [parse("mu_bar >= 0.3")])
        >>> [(finding.layer, finding.status) for finding in findings.findings], findings.exit_code
        ([('h.0', 'ok'), ('h.1', 'ok'), ('h.2', 'failed')], 1)
    """
    insist_on_rules(requirements)
    found: list[Finding] = []
    for rule in requirements:
        if rule.of_depth:
            found += _depth(report, rule)
        else:
            found += drops(report, rule, baseline) if rule.operator == "max_drop" else _limits(report, rule)
    facts = (report.model, report.inputs, strict, report.created, __version__)
    return Findings(tuple(requirements), tuple(found), *facts, report=report)


def insist_on_rules(requirements: Sequence[Requirement]) -> None:
    """Refuse a check without a rule, which would pass whatever happens, and rules that do so.

    Args:
        requirements: the rules.

    Raises:
        UsageError: there is none, or one that no number could break or keep.
    """
    if not requirements:
        raise UsageError("RS120", "nothing was checked: there is no rule", remedies=_FIRST_RULES)
    for rule in requirements:
        insist_on_sense(rule)


def _limits(report: Report, rule: Requirement) -> Iterator[Finding]:
    """A rule with a limit, at each layer or on an aggregate of each stack."""
    every = covered(report, rule.measure)
    if rule.percent:
        _check_ceilings(rule, every)
        every = {stack: tuple(cell.in_percent() for cell in cells) for stack, cells in every.items()}
    chosen = select(rule, every)
    if not chosen:
        error = no_layer(rule, every)
        raise error
    for stack, cells in chosen.items():
        worst = min if rule.operator in {">=", ">"} else max
        values, first = over_depth(every[stack], worst), _first(rule, every[stack])
        if rule.aggregate == "each":
            for cell in cells:
                found = Finding(rule, _status(rule, cell.value), stack, cell.layer_index, cell.layer, cell.head)
                yield replace(
                    found,
                    parameter=cell.parameter,
                    value=cell.value,
                    limit=rule.limit,
                    reason=cell.reason,
                    values=values,
                    first=first,
                )
        else:
            value, reason = aggregated(cells, rule.aggregate)
            found = Finding(rule, _status(rule, value), stack, value=value, limit=rule.limit, reason=reason)
            yield replace(found, values=values, first=first)


def _status(rule: Requirement, value: float | None) -> Outcome:
    """What comes of one number, or of its absence."""
    if value is None:
        return "undefined"
    return "ok" if _HOLDS[rule.operator](value, float(rule.limit)) else "failed"


def _first(rule: Requirement, cells: Iterable[Cell]) -> tuple[str, float] | None:
    """The first layer of a stack whose number does not keep the limit, whether the rule covers it or not."""
    missed = ((cell.layer, cell.value) for cell in cells if cell.value is not None)
    return next(((layer, value) for layer, value in missed if _status(rule, value) == "failed"), None)


def _check_ceilings(rule: Requirement, cells: Cells) -> None:
    """Refuse a percentage of a measure that has no largest value."""
    there = [cell for group in cells.values() for cell in group if cell.value is not None]
    if there and not any(cell.ceiling for cell in there):
        headline = f"'{rule}' cannot be judged: a percentage is one of the ceiling, and {rule.measure} has none"
        raise UsageError("RS118", headline, remedies=[("A plain number", f"{rule.left} {rule.operator} NUMBER")])


def _depth(report: Report, rule: Requirement) -> Iterator[Finding]:
    """A rule on the verdict or the decay, stack by stack."""
    entries = [entry for entry in report.depth if entry.measure == _VERDICT]
    if not entries:
        yield Finding(rule, "undefined", limit=rule.limit, reason=f"missing: the report holds no {rule.measure}")
    for entry in entries:
        word = entry.verdict if rule.measure == "verdict" else entry.decay
        rows = [row for row in report.rows if row.measure == _VERDICT and row.stack == entry.stack]
        values = tuple(row.value for row in rows if row.site == "block" and row.scope == "sequence")
        if word not in WORDS[rule.measure]:
            why = entry.reason or f"the {rule.measure} is {word or 'missing'}"
            yield Finding(rule, "undefined", entry.stack, limit=rule.limit, reason=why, values=values)
            continue
        holds = (word == rule.limit) == (rule.operator == "==")
        reason = f"from {entry.layer} on" if entry.layer and word == "collapsed" else None
        found = Finding(rule, "ok" if holds else "failed", entry.stack, value=word, limit=rule.limit, values=values)
        yield replace(found, reason=reason)
