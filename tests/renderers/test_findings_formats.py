"""What came of a check, in every format: read back by other readers, and safe whatever the layers are called."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import jsonschema
import junitparser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import HOSTILE, a_hostile_report, a_report
from rules import a_judged_report, row
from schemas import closed

from rankscope.records import Report
from rankscope.renderers import FINDINGS, Style
from rankscope.renderers._screen import plain
from rankscope.renderers.findings import github, markdown
from rankscope.renderers.findings._words import number, verdict
from rankscope.requirements import Baseline, Findings, from_flags, judge, parse
from rankscope.requirements.findings import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = json.loads((ROOT / "rankscope" / "check.schema.json").read_text(encoding="utf-8"))
RULES = (
    *("mu_bar >= 0.5", "mu >= 1", "min(effective_rank) >= 4", "effective_rank >= 50% @ last", "verdict != collapsed"),
    *("head:value_cosine <= 0.05", "grad_condition < 300", "cross:attention_entropy >= 1", "max(rankme) > 0"),
)
TEXTS = ("table", "json", "junit", "github", "md")


def judged(*texts: str, strict: bool = False) -> Findings:
    report = a_judged_report()
    drops = from_flags(max_drop=["mu_bar=10%", "effective_rank=1@last"])
    warn = replace(parse("token_norm_ratio <= 2"), severity="warn", reason="see #12: it is known")
    kept = replace(report, rows=tuple(replace(r, value=r.value and 2 * r.value) for r in report.rows))
    return judge(report, [*map(parse, texts or RULES), warn, *drops], Baseline.of(kept), strict)


def hostile() -> Findings:
    rules = [parse(text) for text in ("mu_bar >= 0.5", "min(mu_bar) >= 0.5", "verdict != collapsed", "mu_1inf > 0")]
    why = replace(parse("grad_condition <= 240"), reason="\x1b[31m::error::\n</script>|@all")
    return judge(a_hostile_report(), [*rules, why])


FOUND = [judged(), judged(strict=True), hostile(), judge(a_report(depth=2), [parse("mu_bar >= 0")])]
IDS = ["judged", "strict", "hostile", "passed"]


# JSON


WRITER = jsonschema.Draft202012Validator(closed(PUBLISHED))


@pytest.mark.parametrize("findings", FOUND, ids=IDS)
def test_json_is_as_the_schema_says(findings: Findings) -> None:
    data = json.loads(FINDINGS["json"].text(findings))
    WRITER.validate(data)
    assert data["exit_code"] == findings.exit_code
    assert [data["requirements"][f["requirement"]]["rule"] for f in data["findings"]] == [
        str(f.requirement) for f in findings.findings
    ]
    assert [f["layer"] for f in data["findings"]] == [f.layer for f in findings.findings]
    assert sum(data["counts"].values()) == len(data["findings"])


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema and "required" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def test_the_schema_is_one_and_says_what_everything_is() -> None:
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)
    assert PUBLISHED["properties"]["schema"]["const"] == SCHEMA
    for part in objects(PUBLISHED):
        assert part["description"].endswith(".")
        assert all(entry["description"].endswith(".") for entry in part["properties"].values())
        assert list(part["properties"]) == part["required"]
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["rankscope"]
    assert any(Path("check.schema.json").match(pattern) for pattern in package)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(schema="rankscope.check/2"),
        lambda d: d.update(exit_code=2),
        lambda d: d.pop("findings"),
        lambda d: d["findings"][0].update(status="fine"),
        lambda d: d["findings"][0].update(status="undefined", reason=None),
        lambda d: d["findings"][0].update(requirement=-1),
        lambda d: d["requirements"][0].update(operator="=>"),
        lambda d: d["requirements"][0].update(limit=None),
        lambda d: d["counts"].update(ok=None),
    ],
)
def test_what_is_broken_does_not_validate(change: Any) -> None:
    data = copy.deepcopy(FOUND[0].to_dict())
    change(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(PUBLISHED).validate(data)


# JUnit


@pytest.mark.parametrize("findings", FOUND, ids=IDS)
def test_junit_has_a_case_for_each_finding(findings: Findings) -> None:
    root = ElementTree.fromstring(FINDINGS["junit"].text(findings))
    cases = list(root.iter("testcase"))
    assert len(cases) == len(findings.findings) == int(root.get("tests", ""))
    assert len(root.findall("testsuite")) == len(findings.requirements)
    tags = {"failed": "failure", "undefined": "error"}
    expected = [
        (tags[f.status] if findings.counts(f) else "skipped") if f.status != "ok" else None for f in findings.findings
    ]
    assert [case[0].tag if len(case) else None for case in cases] == expected
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(root.get(name, "")) == len(root.findall(f".//{tag}"))
        assert sum(int(suite.get(name, "")) for suite in root) == int(root.get(name, ""))
    assert (int(root.get("failures", "")) + int(root.get("errors", "")) == 0) == findings.passed
    keys = [(case.get("classname"), case.get("name")) for case in cases]
    assert all(all(key) for key in keys)


@pytest.mark.parametrize("findings", FOUND, ids=IDS)
def test_another_reader_of_junit_finds_the_same(findings: Findings, tmp_path: Path) -> None:
    findings.save(tmp_path / "junit.xml")
    suites = junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert isinstance(suites, junitparser.JUnitXml)
    written = (suites.tests, suites.failures, suites.errors, suites.skipped)
    assert [suite.name for suite in suites] == [plain(rule) for rule in findings.requirements]
    kinds = {"failed": junitparser.Failure, "undefined": junitparser.Error}
    cases = [case for suite in suites for case in suite]
    for case, finding in zip(cases, findings.findings, strict=True):
        kind = kinds[finding.status] if findings.counts(finding) else junitparser.Skipped
        assert [type(result) for result in case.result] == ([] if finding.status == "ok" else [kind])
        assert all(result.message for result in case.result)
        assert case.is_passed == (finding.status == "ok")
    suites.update_statistics()  # counts the cases itself
    assert (suites.tests, suites.failures, suites.errors, suites.skipped) == written


def test_junit_of_any_names_is_read_back() -> None:
    @given(st.lists(st.text(), min_size=1, max_size=6))
    def check(names: list[str]) -> None:
        rows = [row("h" + names[0], k, "mu_bar", 0.1, layer=text) for k, text in enumerate(names)]
        text = FINDINGS["junit"].text(judge(Report({}, tuple(rows)), [parse("mu_bar >= 1")]))
        assert len(list(ElementTree.fromstring(text).iter("failure"))) == len(names)
        assert junitparser.JUnitXml.fromstring(text.encode()).failures == len(names)

    check()


# GitHub


def test_github_annotates_rules_and_not_layers() -> None:
    lines = FINDINGS["github"].text(judged("mu_bar >= 0.5", "mu >= 1")).splitlines()
    assert lines[0] == (
        "::error title=mu_bar >= 0.5::2 of 5 layers; the worst, enc.3: 0.05 (0.45 below); "
        "first under the limit at enc.2 (0.3)"
    )
    assert lines[1].startswith("::error title=mu >= 1::1 of 5 layers: enc.1: undefined: the value is nan")
    assert [line.split(" ")[0] for line in lines] == ["::error"] * 6 + ["::warning"] * 2 + ["::notice"]
    assert lines[-1] == "::notice title=rankscope check::4 of 5 requirements failed, 1 warned"


def test_github_shows_ten_at_most_and_then_a_total() -> None:
    rules = [parse(f"mu_bar >= {1 + k}") for k in range(30)]
    lines = FINDINGS["github"].text(judge(a_report(depth=2), rules)).splitlines()
    assert len(lines) == github.MOST + 1 == 11
    assert lines[-1] == "::notice title=rankscope check::30 of 30 requirements failed, 20 more than are shown"


def test_github_lines_hold_one_command_each() -> None:
    text = FINDINGS["github"].text(hostile())
    for line in text.splitlines():
        assert re.fullmatch(r"::(error|notice) title=[^:,]*::.*", line)
    assert "\r" not in text
    assert len(text.split("\n")) == len(text.splitlines()) + 1
    assert "50%25" in FINDINGS["github"].text(judged("effective_rank >= 50% @ last"))


# Markdown


def test_markdown_is_bounded() -> None:
    rules = [parse(f"mu_bar >= {1 + k}") for k in range(300)]
    rows = tuple(row("h", k, "mu_bar", 0.5, layer="[" * 300) for k in range(96))
    text = FINDINGS["md"].text(judge(Report({}, rows), rules))
    assert "200 more lines are not shown" in text
    assert f"{300 * 96 - markdown.MOST} more are not shown" in text
    assert len(text.encode()) < 700_000


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)


def test_markdown_of_hostile_names_holds_no_markup_of_theirs() -> None:
    text = FINDINGS["md"].text(hostile())
    reader = Tags()
    reader.feed(text)
    assert set(reader.tags) == {"details", "summary"}
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in rows} == {2, 3}
    assert "@all" not in text


# table


def test_the_table() -> None:
    text = FINDINGS["table"].text(judged("mu_bar >= 0.5 @ last", "effective_rank >= 2"), Style(columns=120))
    lines = text.splitlines()
    assert lines[0] == "model  net.pt"
    assert re.fullmatch(r"FAIL +mu_bar >= 0.5 @ last +enc.3: 0.05 \(0.45 below\)", lines[2])
    assert lines[3].strip() == "over depth █▇▆▃▁  first under the limit at enc.2 (0.3)"
    assert "because: see #12: it is known" in text
    assert re.search(r"^warn +token_norm_ratio <= 2", text, re.MULTILINE)
    assert "enc.3: 4 (baseline 8, limit 7, 3 below)" in text
    assert lines[-1] == "3 of 5 requirements failed, 1 warned"


def test_every_number_is_listed_on_request() -> None:
    short = FINDINGS["table"].text(judged("mu_bar >= 0.5"), Style(columns=120))
    long = FINDINGS["table"].text(judged("mu_bar >= 0.5"), Style(columns=120, every=True))
    assert "enc.2: 0.3 (0.2 below)" not in short
    assert "enc.2: 0.3 (0.2 below)" in long


@pytest.mark.parametrize("columns", [1, 40, 80, 200])
@pytest.mark.parametrize("findings", FOUND, ids=IDS)
def test_the_table_fits_the_screen_and_speaks_ascii(findings: Findings, columns: int) -> None:
    style = Style(columns=columns, unicode=False, every=True)
    text = FINDINGS["table"].text(findings, style)
    assert all(len(line) <= max(columns, 40) for line in text.splitlines())
    own = FINDINGS["table"].text(FOUND[0], style)
    assert own.isascii()
    assert FINDINGS["table"].text(findings, Style(columns=columns, color=True)).count("\x1b[") > 0


# all


@pytest.mark.parametrize("name", TEXTS)
def test_hostile_names_break_no_format(name: str) -> None:
    text = FINDINGS[name].text(hostile(), Style(columns=200, every=True))
    assert text.isprintable() or set("".join(c for c in text if not c.isprintable())) == {"\n"}
    assert "[bold red]x[/]" in text or name == "md"


@pytest.mark.parametrize("name", TEXTS)
def test_formats_agree_on_the_outcome(name: str) -> None:
    failed, passed = (FINDINGS[name].text(findings) for findings in (FOUND[0], FOUND[3]))
    word = {"junit": "<failure", "json": '"passed": false', "github": "::error"}.get(name, "failed")
    assert word in failed
    assert word not in passed


def test_what_is_saved_is_what_is_shown(tmp_path: Path) -> None:
    for suffix, name in ((".xml", "junit"), (".json", "json"), (".md", "md"), (".txt", "table")):
        FOUND[0].save(tmp_path / f"f{suffix}")
        assert (tmp_path / f"f{suffix}").read_text() == FINDINGS[name].text(FOUND[0])


@pytest.mark.parametrize(
    ("texts", "strict", "sentence"),
    [
        (["mu_bar >= 0"], False, "the requirement holds"),
        (["mu_bar >= 0", "mu_bar <= 1"], False, "all 2 requirements hold"),
        (["mu_bar >= 1"], False, "1 of 1 requirement failed"),
        (["mu_bar >= 1", "mu >= 0", "mu_bar >= 0"], False, "2 of 3 requirements failed"),
        (["!mu_bar >= 1", "mu_bar >= 0"], False, "1 of 2 requirements hold, 1 warned"),
        (["!mu_bar >= 1"], False, "no requirement that counts failed, 1 warned"),
        (["!mu_bar >= 1"], True, "1 of 1 requirement failed"),
    ],
)
def test_the_verdict_in_a_sentence(texts: list[str], strict: bool, sentence: str) -> None:
    rules = [replace(parse(text.removeprefix("!")), severity="warn" if text[0] == "!" else "error") for text in texts]
    assert verdict(judge(a_judged_report(), rules, strict=strict)) == sentence


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_a_number_is_shown_on_its_side_of_the_limit(value: float, limit: float) -> None:
    shown = float(number(value, limit))
    assert (shown < limit, shown > limit) == (value < limit, value > limit)


def test_numbers_have_no_power_of_ten_where_they_are_read_without() -> None:
    assert [number(v, 1.0) for v in (8500.0, 39_900.0, 2.5e7, 1e-5)] == ["8500", "39900", "2.5e+07", "1e-05"]


def test_the_names_of_the_formats() -> None:
    assert set(FINDINGS.names()) == {*TEXTS, "html"}
    assert len(HOSTILE) > 10


def test_findings_are_a_frame_and_a_short_line() -> None:
    from reports import a_report

    from rankscope.requirements import check

    found = check(a_report(4), min={"mu_bar": 0.01, "stable_rank": 1e6})
    assert repr(found) == "<Findings not passed: 2 rules; 1 ok, 1 failed>"
    frame = found.to_frame()
    assert len(frame) == len(found.findings)
    assert list(frame.columns[:4]) == ["rule", "severity", "status", "stack"]
    assert set(frame["status"]) == {"ok", "failed"}
