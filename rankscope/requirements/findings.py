"""Findings: what came of every rule at every layer it covers, in the one form that all outputs are made from."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rankscope.plain import finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from rankscope.records import Report
    from rankscope.requirements.grammar import Requirement, Severity

SCHEMA = "rankscope.check/1"
Outcome = Literal["ok", "failed", "undefined"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule at one layer, or over the layers of one stack where the rule is on an aggregate or on the verdict.

    `value` is a number, a word of the verdict, or None where there is none; `limit` what it is held against, in the
    same unit (percent where the rule is in percent of the ceiling), and `baseline` the value that a drop is counted
    from. `reason` says why a status is undefined, or what else went wrong. `values` is the measure over the depth of
    the stack, and `first` the first layer there that does not keep the limit, with its value.
    """

    requirement: Requirement
    status: Outcome
    stack: str | None = None
    layer_index: int | None = None
    layer: str | None = None
    head: int | None = None
    parameter: str | None = None
    value: float | str | None = None
    limit: float | str | None = None
    baseline: float | None = None
    reason: str | None = None
    values: tuple[float | None, ...] = ()
    first: tuple[str, float] | None = None

    @property
    def severity(self) -> Severity:
        """Of the rule: ``"error"``, or ``"warn"`` for one that prints only."""
        return self.requirement.severity

    @property
    def place(self) -> str | None:
        """Where: the layer with its head or parameter, or the stack; untrusted text, None for the whole model."""
        name = self.stack if self.layer is None else self.layer.strip() or f"layer {self.layer_index}"
        if self.parameter is not None and self.parameter != "cross":
            return self.parameter if self.parameter.startswith(f"{name}.") else f"{name} {self.parameter}"
        return f"{name} head {self.head}" if self.head is not None else name


@dataclass(frozen=True, slots=True, repr=False)
class Findings:
    """All that came of a check: it passes where every rule is shown to hold at every layer it covers.

    A rule of severity ``"warn"`` counts only where the check is `strict`. `model` and `inputs` are those of the report,
    which is at hand for pages that show it beside, and is no part of the published schema.

    Example:
        >>> from rankscope.requirements import parse
        >>> rules = parse("mu_bar >= 0.1"), parse("mu_bar >= 0.2")
        >>> findings = Findings(rules, tuple(Finding(rule, status) for rule, status in zip(rules, ("ok", "failed"))))
        >>> findings.passed, findings.exit_code, [findings.status(rule) for rule in rules]
        (False, 1, ['ok', 'failed'])
    """

    requirements: tuple[Requirement, ...]
    findings: tuple[Finding, ...]
    model: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False
    created: str = ""
    rankscope: str = ""
    schema: str = SCHEMA
    report: Report | None = field(default=None, repr=False, compare=False)
    _by_rule: Mapping[int, tuple[Finding, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[int, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            found[id(finding.requirement)].append(finding)
        object.__setattr__(self, "_by_rule", {key: tuple(entries) for key, entries in found.items()})

    @property
    def passed(self) -> bool:
        """Whether every rule that counts was shown to hold."""
        return not any(self.counts(finding) for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 where all holds, 1 where a requirement failed."""
        return 0 if self.passed else 1

    def counts(self, finding: Finding) -> bool:
        """Whether a finding makes the check fail.

        Args:
            finding: one of these.

        Returns:
            False for one that holds, and for a warning unless the check is strict.
        """
        return finding.status != "ok" and (self.strict or finding.severity == "error")

    def of(self, requirement: Requirement) -> tuple[Finding, ...]:
        """What came of one rule.

        Args:
            requirement: one of these.

        Returns:
            Its findings, in the order of the layers.
        """
        return self._by_rule.get(id(requirement), ())

    def status(self, requirement: Requirement) -> Outcome:
        """The worst status among the findings of one rule: failed before undefined before ok.

        Args:
            requirement: one of these.

        Returns:
            The status.
        """
        found = {finding.status for finding in self.of(requirement)}
        return "failed" if "failed" in found else "undefined" if "undefined" in found else "ok"

    def to_dict(self) -> dict[str, Any]:
        """The findings as plain data in the order of the published schema; numbers that are not finite become null.

        Returns:
            Nested dicts, lists, strings and finite numbers.
        """
        counts = Counter(finding.status for finding in self.findings)
        known = ("spec", "class", "format", "sha256")
        number = {id(rule): i for i, rule in enumerate(self.requirements)}
        found: dict[str, Any] = finite(
            {
                "schema": self.schema,
                "rankscope": self.rankscope,
                "created": self.created,
                "model": {name: self.model.get(name) for name in known},
                "inputs": {name: self.inputs.get(name) for name in ("source", "sha256", "seed")},
                "strict": self.strict,
                "passed": self.passed,
                "exit_code": self.exit_code,
                "counts": {status: counts[status] for status in ("ok", "failed", "undefined")},
                "requirements": self.rules(),
                "findings": [{"requirement": number[id(each.requirement)], **_plain(each)} for each in self.findings],
            }
        )
        return found

    def to_json(self) -> str:
        """The findings as JSON text; names are as the model has them.

        Returns:
            ASCII text.
        """
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write the findings; the suffix chooses the format. The file appears whole or not at all.

        Args:
            path: a file such as ``findings.json``, ``junit.xml``, ``check.md`` or ``check.html``.
        """
        from rankscope.renderers import FINDINGS, save_all

        save_all(self, [Path(path)], of=FINDINGS)

    def to_frame(self) -> pd.DataFrame:
        """The long table: a line for each finding, with its rule and severity.

        Returns:
            A DataFrame; `value`, `limit` and `baseline` are numbers where they are numbers.
        """
        import pandas as pd

        lines = [{"rule": str(f.requirement), "severity": f.severity, **_plain(f)} for f in self.findings]
        names = ["rule", "severity", *_NAMES]
        return pd.DataFrame([[line[name] for name in names] for line in lines], columns=names)

    def __repr__(self) -> str:
        counts = Counter(self.status(rule) for rule in self.requirements)
        told = ", ".join(f"{counts[status]} {status}" for status in ("ok", "failed", "undefined") if counts[status])
        some = "1 rule" if len(self.requirements) == 1 else f"{len(self.requirements)} rules"
        return f"<Findings {'passed' if self.passed else 'not passed'}: {some}; {told or 'nothing judged'}>"

    def rules(self) -> list[dict[str, Any]]:
        """The rules as plain data, each with its status.

        Returns:
            Dicts of strings and numbers, in the order of the rules.
        """
        return [
            {
                "rule": str(rule),
                "measure": rule.measure,
                "aggregate": rule.aggregate,
                "operator": rule.operator,
                "limit": rule.limit,
                "percent": rule.percent,
                "selector": str(rule.selector),
                "severity": rule.severity,
                "reason": rule.reason,
                "status": self.status(rule),
            }
            for rule in self.requirements
        ]


_NAMES = ("status", "stack", "layer_index", "layer", "head", "parameter", "value", "limit", "baseline", "reason")


def _plain(finding: Finding) -> dict[str, Any]:
    first = None if finding.first is None else {"layer": finding.first[0], "value": finding.first[1]}
    return {**{name: getattr(finding, name) for name in _NAMES}, "values": list(finding.values), "first": first}
