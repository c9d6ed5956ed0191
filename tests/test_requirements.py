"""Rules: what they cover, what comes of them, and what is refused. The table is the contract of `rankscope check`."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import HOSTILE, a_hostile_report, a_report, undefined_report
from rules import PLACES, a_judged_report, row

import rankscope
from rankscope.errors import UsageError
from rankscope.records import Report
from rankscope.requirements import Findings, Requirement, combine, from_flags, judge, needed, parse
from rankscope.selectors import Selector, parse_selector

if TYPE_CHECKING:
    from random import Random

REPORT = a_judged_report()
ALL = len(PLACES)

# rule, findings as (ok, failed, undefined), exit code
CASES = [
    # every layer of both stacks
    ("mu_bar >= 0.05", (ALL, 0, 0), 0),
    ("mu_bar > 0.05", (ALL - 1, 1, 0), 1),
    ("mu_bar <= 0.9", (ALL, 0, 0), 0),
    ("mu_bar < 0.9", (ALL - 1, 1, 0), 1),
    ("each(mu_bar) >= 0.5", (6, 2, 0), 1),
    ("mu_bar>=.5e-1", (ALL, 0, 0), 0),
    ("mu_bar >= -1", (ALL, 0, 0), 0),
    ("mu_bar >= +1", (0, ALL, 0), 1),
    # selectors
    ("mu_bar >= 0.5 @ last", (1, 1, 0), 1),
    ("mu_bar >= 0.5 @ first", (2, 0, 0), 0),
    ("mu_bar >= 0.5 @ 0", (2, 0, 0), 0),
    ("mu_bar >= 0.5 @ 2", (2, 0, 0), 0),
    ("mu_bar >= 0.5 @ 4", (0, 1, 0), 1),
    ("mu_bar >= 0.5 @ 1..2", (4, 0, 0), 0),
    ("mu_bar >= 0.5 @ 2..3", (2, 1, 0), 1),
    ("mu_bar >= 0.5 @ 3..99", (0, 2, 0), 1),
    ("mu_bar >= 0.5 @ *", (6, 2, 0), 1),
    ("mu_bar >= 0.5 @ dec.*", (3, 0, 0), 0),
    ("mu_bar >= 0.5 @ 'dec.*'", (3, 0, 0), 0),
    ("mu_bar >= 0.5 @ enc.?", (2, 2, 0), 1),
    ("mu_bar >= 0.5 @ *.input", (2, 0, 0), 0),
    ("mu_bar >= 0.5 @ enc.[0-1]", (2, 0, 0), 0),
    # aggregates are taken of each stack
    ("min(mu_bar) >= 0.5", (1, 1, 0), 1),
    ("max(mu_bar) >= 0.7", (2, 0, 0), 0),
    ("max(mu_bar) >= 0.8", (1, 1, 0), 1),
    ("mean(mu_bar) >= 0.54", (1, 1, 0), 1),
    ("mean(mu_bar) >= 0.52", (2, 0, 0), 0),
    ("median(mu_bar) >= 0.6", (2, 0, 0), 0),
    ("median(mu_bar) > 0.6 @ enc.*", (0, 1, 0), 1),
    ("min(effective_rank) >= 4 @ enc.*", (1, 0, 0), 0),
    ("min( effective_rank )>4@enc.*", (0, 1, 0), 1),
    # percent of the ceiling, which differs between the stacks
    ("effective_rank >= 6.25%", (ALL, 0, 0), 0),
    ("effective_rank >= 50%", (5, 3, 0), 1),
    ("min(effective_rank) >= 50 %", (1, 1, 0), 1),
    ("mu_bar >= 5% @ last", (2, 0, 0), 0),
    # pooled, heads, cross-attention, weights
    ("pooled:effective_rank >= 46", (ALL, 0, 0), 0),
    ("pooled:effective_rank > 46 @ last", (1, 1, 0), 1),
    ("head:value_cosine <= 0.05", (2, 2, 0), 1),
    ("value_cosine:head0 <= 0.05", (2, 0, 0), 0),
    ("value_cosine:head1 <= 0.05 @ last", (0, 1, 0), 1),
    ("attention_entropy >= 1", (2, 0, 0), 0),
    ("cross:attention_entropy >= 1", (0, 2, 0), 1),
    ("grad_condition <= 300", (2, 0, 0), 0),
    ("grad_condition < 300", (1, 1, 0), 1),
    ("grad_norm >= 0.5 @ 0", (2, 0, 0), 0),
    # layers that have no number by nature: the input, and the layer that values are compared with
    ("value_cosine <= 0.99", (3, 0, 0), 0),
    ("value_cosine <= 0.6", (2, 1, 0), 1),
    ("value_cosine <= 0.6 @ first", (0, 1, 0), 1),
    ("max(value_cosine) <= 0.7", (1, 0, 0), 0),
    # what is not shown fails: NaN, infinite, null, undefined, skipped, error, undefined with a value, no row
    ("mu >= 1", (ALL - 1, 0, 1), 1),
    ("mu <= 1", (0, ALL - 1, 1), 1),
    ("stable_rank >= 1", (ALL - 1, 0, 1), 1),
    ("participation_ratio >= 1", (ALL - 1, 0, 1), 1),
    ("rankme >= 1", (ALL - 1, 0, 1), 1),
    ("entropy_rank >= 1", (ALL - 1, 0, 1), 1),
    ("numerical_rank >= 1", (ALL - 1, 0, 1), 1),
    ("mu_1inf >= 1", (ALL - 1, 0, 1), 1),
    ("token_similarity >= 1", (ALL - 1, 0, 1), 1),
    ("mu >= 1 @ 2", (1, 0, 1), 1),
    ("mu >= 1 @ 3", (1, 0, 0), 0),
    ("min(mu) >= 1", (1, 0, 1), 1),
    ("max(mu) >= 1", (1, 0, 1), 1),
    ("mean(rankme) <= 100", (1, 0, 1), 1),
    ("median(token_similarity) <= 100", (1, 0, 1), 1),
    ("rankme_centered >= 0 @ last", (0, 0, 2), 1),  # known, not measured
    ("value_cosine:head7 >= 0 @ last", (0, 0, 2), 1),
    ("mu >= 1%", "RS118", 2),  # no ceiling
    # the verdict
    ("verdict != collapsed", (1, 1, 0), 1),
    ("verdict == healthy", (1, 1, 0), 1),
    ("verdict != thinning", (2, 0, 0), 0),
    ("decay != doubly_exponential", (1, 1, 0), 1),
    ("decay == none", (1, 1, 0), 1),
    ("decay!=growing", (2, 0, 0), 0),
    # refused
    ("mu_baar >= 0.05", "RS101", 2),
    ("foo:mu_bar >= 0.05", "RS101", 2),
    ("pooled:mu_bar >= 0.05", "RS101", 2),
    ("average(mu_bar) >= 0.05", "RS101", 2),
    ("verdict != sick", "RS101", 2),
    ("verdict == undefined", "RS101", 2),
    ("mu_bar >= 0.05 @ 5", "RS119", 2),
    ("mu_bar >= 0.05 @ 7..9", "RS119", 2),
    ("mu_bar >= 0.05 @ blocks.*", "RS119", 2),
    ("mu_bar >= 0.05 @ 'last'", "RS119", 2),
    ("mu_bar >= 0.05 @ -1", "RS119", 2),
    ("value_cosine <= 0.99 @ 0", "RS119", 2),
    ("value_cosine <= 0.99 @ 1", "RS119", 2),
    ("attention_entropy >= 1 @ enc.*", "RS119", 2),
    ("grad_condition <= 300 @ 2", "RS119", 2),
    ("grad_norm >= 50%", "RS118", 2),
    ("singular_values >= 1", "RS118", 2),
    ("mu_bar >= 0.05 @", "RS117", 2),
    ("mu_bar >= 0.05 @ 3..1", "RS117", 2),
    ("mu_bar", "RS116", 2),
    ("mu_bar @ last", "RS116", 2),
    ("", "RS116", 2),
    ("mu_bar >=", "RS116", 2),
    ("mu_bar >= @ last", "RS116", 2),
    ("mu_bar >= nan", "RS115", 2),
    ("mu_bar >= inf", "RS115", 2),
    ("mu_bar >= 1e999", "RS115", 2),
    ("mu_bar >= 0,05", "RS115", 2),
    ("mu_bar >= 0x10", "RS115", 2),
    ("mu_bar >= ٣", "RS115", 2),
    ("mu_bar >= 1%%", "RS115", 2),
    ("mu_bar >= %", "RS115", 2),
    ("mu_bar = 0.05", "RS115", 2),
    ("mu_bar == 0.05", "RS115", 2),
    ("mu_bar != 0.05", "RS115", 2),
    ("mu_bar => 0.05", "RS115", 2),
    ("mu_bar ≥ 0.05", "RS115", 2),
    ("min(mu_bar >= 0.05", "RS115", 2),
    ("min(max(mu_bar)) >= 0.05", "RS115", 2),
    ("mu bar >= 0.05", "RS115", 2),
    (">= 0.05", "RS115", 2),
    ("0.05 <= mu_bar", "RS115", 2),
    ("verdict >= healthy", "RS115", 2),
    ("verdict != collapsed @ last", "RS115", 2),
    ("min(verdict) == healthy", "RS115", 2),
]


def outcome(findings: Findings) -> tuple[int, int, int]:
    counts = Counter(finding.status for finding in findings.findings)
    return counts["ok"], counts["failed"], counts["undefined"]


@pytest.mark.parametrize(("rule", "expected", "exit_code"), CASES, ids=[case[0] or "empty" for case in CASES])
def test_a_rule_on_a_report(rule: str, expected: tuple[int, int, int] | str, exit_code: int) -> None:
    if isinstance(expected, str):
        with pytest.raises(UsageError) as caught:
            judge(REPORT, [parse(rule)])
        assert (caught.value.code, caught.value.exit_code) == (expected, exit_code)
        return
    findings = judge(REPORT, [parse(rule)])
    assert (outcome(findings), findings.exit_code) == (expected, exit_code)
    assert findings.passed == (exit_code == 0)
    assert all((f.reason is not None) for f in findings.findings if f.status == "undefined")


def test_the_table_is_large_enough() -> None:
    assert len({case[0] for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize(
    ("measure", "told"),
    [
        ("mu", "the value is nan"),
        ("stable_rank", "the value is inf"),
        ("participation_ratio", "the value is missing"),
        ("rankme", "undefined: fewer than 4 tokens"),
        ("entropy_rank", "skipped: it did not run"),
        ("numerical_rank", "error: ValueError: x"),
        ("mu_1inf", "undefined"),
        ("token_similarity", "missing: the report holds no token_similarity"),
        ("mu_unit", "missing: the report holds no mu_unit"),
    ],
)
def test_why_a_number_is_not_there_is_told(measure: str, told: str) -> None:
    (finding,) = judge(REPORT, [parse(f"{measure} >= 0 @ enc.1")]).findings
    assert finding.reason is not None
    assert finding.reason.startswith(told)
    assert (finding.value, finding.layer, finding.layer_index) == (None, "enc.1", 2)


def test_nothing_passes_where_there_is_no_number() -> None:
    report = undefined_report()
    names = sorted({r.measure for r in report.rows})
    rules = [parse(f"{name} {operator} 0") for name in names for operator in (">=", "<=")]
    findings = judge(report, [*rules, parse("verdict != collapsed"), parse("decay != doubly_exponential")])
    assert {finding.status for finding in findings.findings} == {"undefined"}
    assert findings.exit_code == 1


def test_an_empty_report_matches_no_layer_and_has_no_verdict() -> None:
    with pytest.raises(UsageError, match="matches no layer"):
        judge(Report({}, ()), [parse("mu_bar >= 0")])
    assert judge(Report({}, ()), [parse("verdict != collapsed")]).findings[0].status == "undefined"


def test_no_rule_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no rule") as caught:
        judge(REPORT, [])
    assert caught.value.code == "RS120"


def test_a_decay_that_was_not_fitted_is_undefined_with_the_reason() -> None:
    depth = tuple(replace(entry, decay=None, reason="2 layers") for entry in REPORT.depth)
    found = judge(replace(REPORT, depth=depth), [parse("decay != doubly_exponential")]).findings
    assert [(finding.status, finding.reason) for finding in found] == [("undefined", "2 layers")] * 2


def test_numbers_are_compared_as_they_are() -> None:
    just_under = math.nextafter(0.05, 0)
    report = Report({}, (row("h", 1, "mu_bar", just_under), row("h", 2, "mu_bar", 0.05)))
    assert [f.status for f in judge(report, [parse("mu_bar >= 0.05")]).findings] == ["failed", "ok"]
    assert [f.status for f in judge(report, [parse("mu_bar > 0.05")]).findings] == ["failed", "failed"]


def test_where_a_measure_first_misses_its_limit_is_told_beyond_the_selector() -> None:
    (finding, _) = judge(REPORT, [parse("mu_bar >= 0.5 @ last")]).findings
    assert finding.first == ("enc.2", 0.3)
    assert finding.values == (0.9, 0.8, 0.6, 0.3, 0.05)
    assert judge(REPORT, [parse("mu_bar >= 0.05 @ last")]).findings[0].first is None


def test_a_layer_named_like_a_glob_is_found_by_its_name() -> None:
    report = Report({}, tuple(row("h", k, "mu_bar", 0.5, layer=text) for k, text in enumerate(HOSTILE)))
    for k, text in enumerate(HOSTILE):
        rule = Requirement("mu_bar", ">=", 0.1, selector=Selector("glob", glob=text))
        assert k in [finding.layer_index for finding in judge(report, [rule]).findings]


def test_hostile_names_reach_the_findings_as_they_are() -> None:
    findings = judge(a_hostile_report(), [parse("mu_bar >= 0")])
    assert [finding.layer for finding in findings.findings] == list(HOSTILE)


def test_a_warning_counts_only_where_the_check_is_strict() -> None:
    warn = replace(parse("mu_bar >= 0.5"), severity="warn")
    assert judge(REPORT, [warn]).exit_code == 0
    assert judge(REPORT, [warn], strict=True).exit_code == 1
    assert judge(REPORT, [warn, parse("mu_bar >= 0.4")]).exit_code == 1
    undefined = replace(parse("mu >= 0"), severity="warn")
    assert (judge(REPORT, [undefined]).exit_code, judge(REPORT, [undefined], strict=True).exit_code) == (0, 1)


def test_several_rules_on_one_measure_all_hold() -> None:
    rules = [parse("mu_bar >= 0.01"), parse("mu_bar >= 0.5 @ first"), parse("mu_bar <= 0.95")]
    assert judge(REPORT, rules).passed
    assert [judge(REPORT, rules).status(rule) for rule in rules] == ["ok"] * 3
    assert not judge(REPORT, [*rules, parse("mu_bar >= 0.95")]).passed


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12), st.floats(-1e6, 1e6), st.randoms())
def test_every_judgement_equals_the_plain_one(values: list[float], limit: float, rng: Random) -> None:
    rows = [row("h", k, "mu_bar", value) for k, value in enumerate(values)]
    rng.shuffle(rows)
    report = Report({}, tuple(rows))
    plain = {"min": min, "max": max, "mean": statistics.fmean, "median": statistics.median}
    for operator, holds in ((">=", limit.__le__), ("<", limit.__gt__)):
        found = judge(report, [Requirement("mu_bar", operator, limit)]).findings
        assert [f.status == "ok" for f in found] == [holds(value) for value in values]
        for name, function in plain.items():
            rule = Requirement("mu_bar", operator, limit, aggregate=name)
            (finding,) = judge(report, [rule]).findings
            assert finding.value == function(values)
            assert (finding.status == "ok") == holds(function(values))


# the grammar

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}(:[a-z0-9_]{1,6}){0,2}", fullmatch=True).filter(
    lambda name: name not in {"verdict", "decay"}
)
LIMITS = st.floats(allow_nan=False, allow_infinity=False)
SELECTORS = st.one_of(
    st.sampled_from([Selector(), Selector("first"), Selector("last")]),
    st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda ends: Selector("range", min(ends), max(ends))),
    st.text(min_size=1).map(lambda glob: Selector("glob", glob=glob)),
    st.sampled_from(["first", "3", "1..2", "*", "'x'", ' "', "a@b", "x'"]).map(
        lambda glob: Selector("glob", glob=glob)
    ),
)
REQUIREMENTS = st.builds(
    Requirement,
    NAMES,
    st.sampled_from([">=", ">", "<=", "<"]),
    LIMITS,
    st.booleans(),
    st.sampled_from(["each", "min", "max", "mean", "median"]),
    SELECTORS,
)


@given(REQUIREMENTS)
def test_a_rule_reads_back_to_itself(rule: Requirement) -> None:
    assert parse(str(rule)) == rule


@given(SELECTORS)
def test_a_selector_reads_back_to_itself(selector: Selector) -> None:
    assert parse_selector(str(selector)) == selector


@given(st.text())
def test_any_text_is_a_rule_or_a_usage_error(text: str) -> None:
    for read in (parse, lambda word: from_flags(min=[word]), lambda word: from_flags(max_drop=word)):
        with contextlib.suppress(UsageError):
            read(text)


@pytest.mark.parametrize("word", ["verdict == healthy", "verdict != collapsed", "decay != doubly_exponential"])
def test_a_rule_on_the_verdict_reads_back(word: str) -> None:
    assert str(parse(word)) == word


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        ({"min": ["mu_bar=0.05@last"]}, "mu_bar >= 0.05 @ last"),
        ({"min": "mu_bar=0.05 @ blocks.*"}, "mu_bar >= 0.05 @ blocks.*"),
        ({"max": ["value_cosine=0.99"]}, "value_cosine <= 0.99"),
        ({"max": {"value_cosine": 0.99}}, "value_cosine <= 0.99"),
        ({"min": {"min(effective_rank)": "4@blocks.*"}}, "min(effective_rank) >= 4 @ blocks.*"),
        ({"max_drop": ["effective_rank=10%"]}, "max-drop effective_rank=10%"),
        ({"max_drop": {"effective_rank": "0.5@last"}}, "max-drop effective_rank=0.5 @ last"),
    ],
)
def test_flags(flags: dict[str, object], rule: str) -> None:
    (found,) = from_flags(**flags)
    assert str(found) == rule


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ({"min": ["mu_bar"]}, "RS116"),
        ({"min": ["mu_bar="]}, "RS116"),
        ({"min": ["mu_bar=@last"]}, "RS116"),
        ({"min": ["mu_bar>=0.05"]}, "RS116"),
        ({"min": ["mu_bar=x"]}, "RS115"),
        ({"min": ["verdict=1"]}, "RS115"),
        ({"min": ["=1"]}, "RS115"),
        ({"max_drop": ["mu_bar=-1"]}, "RS115"),
        ({"min": ["mu_bar=1@"]}, "RS117"),
        ({"min": ["sum(mu_bar)=1"]}, "RS101"),
    ],
)
def test_flags_that_are_refused(flags: dict[str, object], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_flags(**flags)
    assert caught.value.code == code


@pytest.mark.parametrize("rule", ["mu", "mu >=", "mu @last"])
def test_what_a_shell_leaves_is_asked_about(rule: str) -> None:
    with pytest.raises(UsageError, match="did the shell take your < or >") as caught:
        parse(rule)
    assert any("--min" in text for _, text in caught.value.remedies)


def test_the_nearest_names_are_told() -> None:
    with pytest.raises(UsageError, match="did you mean  mu_bar"):
        judge(REPORT, [parse("mu_baar >= 1")])
    with pytest.raises(UsageError, match=r"did you mean *enc\.3"):
        judge(REPORT, [parse("mu_bar >= 1 @ enc.33")])
    with pytest.raises(UsageError, match=r"did you mean  median"):
        parse("medan(mu) >= 1")


def test_a_rule_of_the_command_line_replaces_the_same_of_the_configuration() -> None:
    old = [parse(text) for text in ("mu >= 1", "mu >= 2 @ last", "mu > 3", "min(mu) >= 4", "mu_bar >= 5")]
    found = combine(old, [parse("mu >= 9"), parse("mu >= 8 @ 'x'")])
    assert [str(rule) for rule in found] == [
        *("mu >= 2 @ last", "mu > 3", "min(mu) >= 4", "mu_bar >= 5"),
        *("mu >= 9", "mu >= 8 @ x"),
    ]


def test_what_has_to_be_measured() -> None:
    rules = [parse(text) for text in ("head:mu >= 1", "cross:nu >= 1", "pooled:x:head2 >= 1", "min(mu) >= 1")]
    assert needed(rules) == ("head:mu", "nu", "pooled:x", "mu")
    assert needed([parse("verdict != collapsed")]) == (
        "rank_one_residual_unit",
        "mu_bar_unit",
        "effective_rank_unit",
    )


# the twin of the command


def test_check_from_python(tmp_path) -> None:
    report = a_report(depth=3)
    report.save(tmp_path / "r.json")
    for subject in (report, tmp_path / "r.json", str(tmp_path / "r.json")):
        assert rankscope.check(subject, min={"mu_bar": 0.05}, require=["verdict != collapsed"]).passed
        assert not rankscope.check(subject, require="mu_bar >= 0.99").passed
        assert len(rankscope.check(subject, require=["mu_bar >= 0.05"], min={"mu_bar": 0.05}).requirements) == 1
    with pytest.raises(UsageError, match="there is no rule"):
        rankscope.check(report)
    with pytest.raises(UsageError, match="seed would do nothing"):
        rankscope.check(report, min={"mu": 1}, seed=3)


def test_check_of_a_model_measures_what_the_rules_need() -> None:
    torch = pytest.importorskip("torch", reason="a model is measured with torch, which is not installed")
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    findings = rankscope.check(model, torch.randn(2, 8, 16), min={"mu_bar": 0.01}, max={"value_cosine": 0.999})
    assert findings.passed
    assert findings.report is not None
    assert {r.measure for r in findings.report.rows} == {"mu_bar", "value_cosine"}
    broken = rankscope.check(model, torch.full((2, 8, 16), math.nan), min={"mu_bar": 0.01})
    assert {f.status for f in broken.findings} == {"undefined"}
