"""Requirements: rules that must be shown to hold for a report, and the baseline that a drop is counted from."""

from rankscope.requirements.baseline import Baseline
from rankscope.requirements.checking import check, needed
from rankscope.requirements.findings import Finding, Findings
from rankscope.requirements.grammar import Requirement, Severity, combine, from_flags, parse
from rankscope.requirements.judging import insist_on_rules, judge
from rankscope.requirements.reading import read_baseline

__all__ = [
    "Baseline",
    "Finding",
    "Findings",
    "Requirement",
    "Severity",
    "check",
    "combine",
    "from_flags",
    "insist_on_rules",
    "judge",
    "needed",
    "parse",
    "read_baseline",
]
