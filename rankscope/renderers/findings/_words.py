"""Findings in words, shared by all formats. Every text that comes back is one printable line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.renderers._screen import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankscope.requirements import Finding, Findings, Requirement

_TOLD = ("undefined", "skipped", "error", "missing")


@dataclass(frozen=True, slots=True)
class Line:
    """What came of one rule in one stack: a word for the outcome, what happened, and where it began."""

    word: str
    rule: Requirement
    findings: tuple[Finding, ...]
    text: str
    begin: str


def lines(findings: Findings) -> Iterator[Line]:
    """The outcome of every rule, stack by stack.

    Args:
        findings: of a check.

    Yields:
        A line for each rule and stack; where some numbers miss the limit and others are undefined, one for each kind.
    """
    for rule in findings.requirements:
        found = findings.of(rule)
        for stack in dict.fromkeys(finding.stack for finding in found):
            group = [finding for finding in found if finding.stack == stack]
            for status in ("failed", "undefined", "ok"):
                some = tuple(finding for finding in group if finding.status == status)
                if some and (status != "ok" or len(some) == len(group)):
                    yield _line(findings, rule, some, len(group))


def _line(findings: Findings, rule: Requirement, some: tuple[Finding, ...], total: int) -> Line:
    """One line of several findings of one status."""
    word = {"ok": "ok", "failed": "FAIL", "undefined": "UNDEFINED"}[some[0].status]
    if word != "ok" and not findings.counts(some[0]):
        word = "warn"
    text = f"{place(_worst(some))}: {result(_worst(some))}"
    if total > 1:
        ok = some[0].status == "ok"
        what = "layers" if all(f.head is None and f.parameter is None for f in some) else "numbers"
        count = f"{total} {what}" if ok else f"{len(some)} of {total} {what}"
        kind = "the nearest" if ok else "the worst" if some[0].status == "failed" else "the first"
        text = f"{count}; {kind}, {text}" if len(some) > 1 else f"{count}: {text}"
    return Line(word, rule, some, text, "" if word == "ok" else _begin(some[0]))


def _begin(finding: Finding) -> str:
    """From where on the limit is not kept, if that is not told by the finding itself."""
    if finding.first is None or not isinstance(finding.limit, float):
        return ""
    layer, value = plain(finding.first[0]).strip() or "a layer without a name", finding.first[1]
    side = "over" if finding.requirement.operator in {"<=", "<"} else "under"
    return f"first {side} the limit at {layer} ({number(value, finding.limit)}{_unit(finding)})"


def _worst(some: tuple[Finding, ...]) -> Finding:
    """The finding that misses its limit by most, or that is nearest to it where all hold."""
    with_numbers = [f for f in some if isinstance(f.value, float | int) and isinstance(f.limit, float | int)]
    if not with_numbers:
        return some[0]
    far = max if some[0].status == "failed" else min
    return far(with_numbers, key=lambda f: abs(float(f.value or 0) - float(f.limit or 0)))


def place(finding: Finding) -> str:
    """Where a finding is: the layer with its head or weight, or what was aggregated over a stack.

    Args:
        finding: of a check.

    Returns:
        The place.
    """
    name = plain(finding.place or "the model")
    aggregate = finding.requirement.aggregate
    return f"{aggregate} of {name}" if aggregate != "each" and finding.layer is None else name


def result(finding: Finding) -> str:
    """What came of a finding.

    Args:
        finding: of a check.

    Returns:
        The number with the digits that show on which side of the limit it is, the word, or why there is neither.
    """
    reason = plain(finding.reason) if finding.reason else ""
    if finding.value is None or finding.status == "undefined":
        return reason if finding.status == "failed" or reason.startswith(_TOLD) else f"undefined: {reason}"
    if isinstance(finding.value, str) or isinstance(finding.limit, str):
        return f"{plain(finding.value)} {reason}".strip()
    if finding.limit is None:
        return f"{_spelt(finding.value, 4)}, {reason}"
    text = number(finding.value, finding.limit) + _unit(finding)
    held = [("baseline", finding.baseline), ("limit", finding.limit)] if finding.baseline is not None else []
    told = [f"{label} {_spelt(value, 6)}" for label, value in held]
    if finding.status == "failed":
        told.append(_gap(finding.value, finding.limit))
    return f"{text} ({', '.join(told)})" if told else text


def _gap(value: float, limit: float) -> str:
    if value == limit:
        return "equal to the limit"
    return f"{_spelt(abs(value - limit), 3)} {'below' if value < limit else 'above'}"


def _spelt(value: float, digits: int) -> str:
    """A number at some digits; without a power of ten up to a million."""
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text and abs(value) < 1e6 else text


def _unit(finding: Finding) -> str:
    rule = finding.requirement
    return " %" if rule.percent and rule.operator != "max_drop" else ""


def number(value: float, limit: float) -> str:
    """A number with at least three digits, and as many as show on which side of the limit it is.

    Args:
        value: finite.
        limit: what it is held against.

    Returns:
        Text.

    Example:
        >>> number(0.0312, 0.05), number(0.049999, 0.05), number(0.05, 0.05)
        ('0.0312', '0.049999', '0.05')
    """
    for digits in range(3, 17):
        text = _spelt(value, digits)
        if (float(text) < limit, float(text) > limit) == (value < limit, value > limit):
            return text
    return repr(value)


def verdict(findings: Findings) -> str:
    """The outcome of a check in one sentence.

    Args:
        findings: of a check.

    Returns:
        How many of the requirements failed.
    """
    total = len(findings.requirements)
    if not total:
        return "no requirement was checked"
    rules = {id(f.requirement) for f in findings.findings if findings.counts(f)}
    warned = {id(f.requirement) for f in findings.findings if f.status != "ok"} - rules
    some = f"{total} requirement{'s' * (total != 1)}"
    text = f"{len(rules)} of {some} failed" if rules else "the requirement holds" if total == 1 else f"all {some} hold"
    if warned and not rules:
        text = f"{total - len(warned)} of {some} hold" if total > len(warned) else "no requirement that counts failed"
    return text + (f", {len(warned)} warned" if warned else "")


def totals(findings: Findings) -> str:
    """How many numbers were looked at, and what came of them."""
    counts = Counter(finding.status for finding in findings.findings)
    return ", ".join(f"{counts[status]} {status}" for status in ("ok", "failed", "undefined") if counts[status])
