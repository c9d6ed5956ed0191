"""The page of a check: which requirements hold and why the others do not, before the page of the report."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from rankscope.plain import finite
from rankscope.records import Report, display_name
from rankscope.renderers._page.build import page_of
from rankscope.renderers._page.grids import spans
from rankscope.renderers._page.model import Listing
from rankscope.renderers._screen import plain
from rankscope.table import numbers

if TYPE_CHECKING:
    from rankscope.renderers._page.model import Page
    from rankscope.requirements import Finding, Findings, Requirement

_MOST = 300  # lines of the table of what does not hold


def page_of_findings(findings: Findings) -> Page:
    """The page of a check.

    Args:
        findings: any findings.

    Returns:
        The page.
    """
    report = findings.report or Report(model=findings.model, rows=(), inputs=findings.inputs, created=findings.created)
    page = page_of([report])
    missed = [rule for rule in findings.requirements if findings.status(rule) != "ok"]
    total = len(findings.requirements)
    word = "passed" if findings.passed else "failed"
    if total == 1:
        told = "its requirement is not shown to hold" if missed else "its requirement holds"
    else:
        told = (
            f"{len(missed)} of {total} requirements not shown to hold" if missed else f"all {total} requirements hold"
        )
    line = f"The check {word}: {told}"
    warned = "" if not missed or not findings.passed else " Those are warnings, which do not fail a check."
    verdicts = f"The verdict on the model: {page.headline}.{warned}"
    sections = (_requirements(findings), _missed(findings))
    return replace(
        page,
        title=f"{line} · rankscope",
        headline=line,
        lead=verdicts if page.cards else warned.strip(),
        listings=(("Requirements", tuple(table for table in sections if table.lines)),),
        data={**page.data, "check": finite(findings.rules()), "passed": findings.passed},
    )


def _requirements(findings: Findings) -> Listing:
    """Every requirement with its status."""
    lines = tuple(
        (findings.status(rule), plain(rule), rule.severity, _kept(findings, rule), plain(rule.reason or "—"))
        for rule in findings.requirements
    )
    headings = ("status", "rule", "severity", "shown at", "why it is asked")
    return Listing("All requirements", "", headings, lines, frozenset(range(5)), marks=0)


def _kept(findings: Findings, rule: Requirement) -> str:
    of = findings.of(rule)
    return f"{sum(finding.status == 'ok' for finding in of)} of {len(of)}"


def _missed(findings: Findings) -> Listing:
    """What does not hold; layers that have no number for the same reason share a line."""
    bad = [finding for finding in findings.findings if finding.status != "ok"]
    lines: list[tuple[str, ...]] = []
    for (_, status, _, _), group in groupby(bad, key=_kind):
        entries = list(group)
        if status == "failed" or len(entries) == 1:
            lines += [_line(entry, i == 0) for i, entry in enumerate(entries)]
        else:
            ks = spans(entry.layer_index for entry in entries if entry.layer_index is not None)
            line = _line(entries[0])
            lines.append((*line[:2], f"{len(entries)} layers: {ks}", *line[3:]))
    more = len(lines) - _MOST
    caption = f"The first {_MOST}; {more} more lines are in the JSON of the check." if more > 0 else ""
    headings = ("status", "rule", "where", "value", "limit", "why")
    return Listing("What does not hold", caption, headings, tuple(lines[:_MOST]), frozenset({0, 1, 2, 5}), marks=0)


def _kind(finding: Finding) -> tuple[int, str, str | None, str | None]:
    """What neighbours share that are told on one line."""
    return (id(finding.requirement), finding.status, finding.stack, finding.reason)


def _line(finding: Finding, leads: bool = True) -> tuple[str, ...]:
    """The line of one finding; where several follow each other, the one that leads says where it began."""
    rule = finding.requirement
    value, limit = _pair(finding)
    unit = " %" if rule.percent else ""
    why = [plain(finding.reason)] if finding.reason else []
    if leads and finding.first is not None:
        layer, first = finding.first
        why.append(f"first at {display_name(layer)} ({numbers([first])[0]})")
    if finding.baseline is not None:
        why.append(f"from {numbers([finding.baseline])[0]} in the baseline")
    place = display_name(finding.place) if finding.place is not None else "the whole model"
    return (finding.status, plain(rule), place, value + unit * (value != "—"), limit + unit, "; ".join(why) or "—")


def _pair(finding: Finding) -> tuple[str, str]:
    """Value and limit as text, with as many digits as it takes to tell them apart."""
    value, limit = finding.value, finding.limit
    texts = (_told(value), f"{limit:.6g}" if isinstance(limit, float) else _told(limit))
    if isinstance(value, float) and isinstance(limit, float) and texts[0] == texts[1]:
        return f"{value:.12g}", f"{limit:.12g}"
    return texts


def _told(part: float | str | None) -> str:
    return "—" if part is None else plain(part) if isinstance(part, str) else numbers([part])[0]
