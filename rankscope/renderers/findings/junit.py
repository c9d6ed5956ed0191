"""JUnit XML: a suite a rule, a case for each number it covers; a miss is a failure, what is undefined an error.

A warning, which does not make the check fail, is a skipped case that says so. XML cannot hold control characters: they
are replaced before they get here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rankscope.renderers import FINDINGS, Style, renderer
from rankscope.renderers._screen import plain
from rankscope.renderers.findings._words import place, result

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from rankscope.requirements import Finding, Findings

_TAGS = {"failed": "failure", "undefined": "error"}


@renderer("junit", ".xml", of=FINDINGS)
def write(findings: Findings, stream: TextIO, style: Style) -> None:  # noqa: ARG001 - the same everywhere
    """Write findings as JUnit XML.

    Args:
        findings: of a check.
        stream: where to.
        style: not used.
    """
    from xml.etree import ElementTree

    root = ElementTree.Element("testsuites", name="rankscope check")
    for rule in findings.requirements:
        suite = ElementTree.SubElement(root, "testsuite", name=plain(rule))
        for finding in findings.of(rule):
            _case(findings, finding, suite)
        _count(suite)
    _count(root)
    ElementTree.indent(root, " ")
    text = ElementTree.tostring(root, encoding="us-ascii", xml_declaration=True).decode("ascii")
    stream.write(text + "\n")


def _case(findings: Findings, finding: Finding, suite: Element) -> None:
    """One case."""
    from xml.etree.ElementTree import SubElement

    stack = f"{plain(finding.stack)}: " if finding.stack and finding.layer is not None else ""
    case = SubElement(suite, "testcase", classname=suite.get("name", ""), name=stack + place(finding), time="0")
    told = f"{place(finding)}: {result(finding)}"
    if finding.requirement.reason:
        told += f"; because: {plain(finding.requirement.reason)}"
    if findings.counts(finding):
        entry = SubElement(case, _TAGS[finding.status], type=finding.status, message=told)
        entry.text = f"{plain(finding.requirement)}\n{told}"
    elif finding.status != "ok":
        SubElement(case, "skipped", message=f"warning: {told}")


def _count(element: Element) -> None:
    """Say how many cases there are of each kind."""
    element.set("tests", str(len(list(element.iter("testcase")))))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(len(list(element.iter(tag)))))
