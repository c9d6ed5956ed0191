"""Requirements: rules that must be shown to hold for a report, and the baseline that a drop is counted from."""

from rankscope.requirements.findings import Finding, Findings
from rankscope.requirements.grammar import Requirement, combine, from_flags, parse
from rankscope.requirements.judging import judge

__all__ = ["Finding", "Findings", "Requirement", "combine", "from_flags", "judge", "parse"]
