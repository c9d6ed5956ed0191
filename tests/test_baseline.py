"""The baseline: what is recorded, what it is compared with, and what makes a comparison impossible."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import HOSTILE, a_hostile_report, a_report
from rules import a_judged_report, row

from rankscope.errors import CannotMeasure, UsageError
from rankscope.records import Layer, Report
from rankscope.requirements import Baseline, from_flags, judge, read_baseline
from rankscope.requirements.baseline import healthy_end, rounded
from rankscope.requirements.changes import changes

if TYPE_CHECKING:
    from pathlib import Path

    from rankscope.requirements import Findings

REPORT = a_judged_report()
BASELINE = Baseline.of(REPORT)


def changed(factor: float, measure: str = "effective_rank", **fields: Any) -> Report:
    """The report with one measure changed in every layer."""

    def one(found: Any) -> Any:
        if found.measure != measure or found.value is None:
            return found
        return replace(found, **{"value": found.value * factor, **fields})

    return replace(REPORT, rows=tuple(map(one, REPORT.rows)))


def held(report: Report, drop: str, baseline: Baseline = BASELINE) -> Findings:
    return judge(report, from_flags(max_drop=[drop]), baseline)


def statuses(findings: Findings) -> list[str]:
    return [finding.status for finding in findings.findings]


@pytest.mark.parametrize(
    ("factor", "drop", "exit_code"),
    [
        (1.0, "effective_rank=0%", 0),
        (1.0, "effective_rank=0", 0),
        (2.0, "effective_rank=0%", 0),
        (0.95, "effective_rank=10%", 0),
        (0.9, "effective_rank=10%", 0),
        (0.899, "effective_rank=10%", 1),
        (0.5, "effective_rank=60%", 0),
        (0.9, "effective_rank=0.4@last", 1),
        (0.9, "effective_rank=1.6@last", 0),
        (0.9, "min(effective_rank)=0.39@enc.*", 1),
        (0.9, "min(effective_rank)=0.4@enc.*", 0),
        (0.9, "mean(effective_rank)=10%", 0),
        (0.89, "median(effective_rank)=10%", 1),
        (0.5, "pooled:effective_rank=10%", 1),
        (0.0, "mu_bar=0%", 0),
    ],
)
def test_a_drop(factor: float, drop: str, exit_code: int) -> None:
    assert held(changed(factor), drop).exit_code == exit_code


@given(st.floats(1e-6, 1e6), st.sampled_from(["0%", "0"]))
def test_nothing_drops_against_itself_although_six_digits_are_kept(value: float, drop: str) -> None:
    report = replace(REPORT, rows=(row("h", 1, "mu_bar", value),), layers=())
    assert held(report, f"mu_bar={drop}", Baseline.of(report)).passed


def test_heads_weights_and_cross_attention_are_compared_one_by_one() -> None:
    for name in ("head:value_cosine", "value_cosine:head1", "cross:attention_entropy", "attention_entropy"):
        assert held(REPORT, f"{name}=0%").passed
        assert not held(
            changed(0.8, name.replace("head:", "").replace("cross:", "").partition(":")[0]), f"{name}=10%"
        ).passed
    grown = held(changed(0.5, "grad_norm"), "grad_norm=10%")
    assert set(statuses(grown)) == {"failed"}


def test_the_finding_says_what_it_was_counted_from() -> None:
    finding = held(changed(0.5), "effective_rank=10%@last").findings[0]
    assert (finding.value, finding.baseline, finding.limit, finding.layer) == (2.0, 4.0, 3.6, "enc.3")


@pytest.mark.parametrize("measure", ["mu", "rankme", "entropy_rank", "value_cosine:head7"])
def test_what_is_not_there_is_undefined(measure: str) -> None:
    assert "undefined" in statuses(held(REPORT, f"{measure}=50%"))


def test_a_value_that_the_baseline_lacks_is_undefined() -> None:
    layers = tuple(replace(entry, values={}) if entry.name == "enc.1" else entry for entry in BASELINE.layers)
    found = held(REPORT, "mu_bar=50%", replace(BASELINE, layers=layers))
    (finding,) = (f for f in found.findings if f.status != "ok")
    assert (finding.status, finding.layer) == ("undefined", "enc.1")
    assert "baseline holds no mu_bar" in str(finding.reason)


def test_layers_that_were_added_or_are_gone_fail() -> None:
    shorter = replace(
        REPORT,
        rows=tuple(r for r in REPORT.rows if r.layer != "enc.3"),
        layers=tuple(entry for entry in REPORT.layers if entry.name != "enc.3"),
    )
    for rule in ("mu_bar=50%", "mu_bar=50%@last", "min(mu_bar)=50%@enc.*"):
        gone = [f for f in held(shorter, rule).findings if f.status != "ok"]
        assert [(f.layer, f.status, f.reason) for f in gone] == [("enc.3", "failed", "the layer is gone")]
        added = [f for f in held(REPORT, rule, Baseline.of(shorter)).findings if f.status != "ok"]
        assert [(f.layer, f.status) for f in added] == [("enc.3", "failed")]
        assert "was added" in str(added[0].reason)
    assert held(shorter, "mu_bar=50%@dec.*").passed
    without = replace(REPORT, rows=tuple(r for r in REPORT.rows if r.stack == "enc"), layers=REPORT.layers[:5])
    assert statuses(held(without, "mu_bar=50%")).count("failed") == 3


def test_the_layer_that_values_are_compared_with_is_no_layer_that_is_gone() -> None:
    for rule in ("value_cosine=0%", "max(value_cosine)=0%", "head:value_cosine=0%"):
        assert held(REPORT, rule).passed
    assert len(held(REPORT, "value_cosine=0%").findings) == 3


def test_a_head_or_a_weight_that_is_gone_fails() -> None:
    for rule, measure in (("head:value_cosine=0%", "value_cosine"), ("value_cosine:head1=0%", "value_cosine")):
        fewer = replace(REPORT, rows=tuple(r for r in REPORT.rows if not (r.measure == measure and r.head == 1)))
        found = [f for f in held(fewer, rule).findings if f.status != "ok"]
        assert {f.status for f in found} <= {"failed", "undefined"}
        assert found
    rows = tuple(r for r in REPORT.rows if not (r.measure == "attention_entropy" and r.layer == "dec.1"))
    for rule in ("attention_entropy=0%", "cross:attention_entropy=0%", "min(cross:attention_entropy)=0%"):
        assert not held(replace(REPORT, rows=rows), rule).passed


def test_a_drop_that_is_no_loss_is_refused() -> None:
    for measure in ("token_norm_ratio", "token_similarity", "grad_condition"):
        with pytest.raises(UsageError, match="rises where representations get poorer") as caught:
            held(REPORT, f"{measure}=10%")
        assert caught.value.code == "RS118"
    assert [healthy_end(name) for name in ("mu_bar_unit", "grad_condition", "value_cosine", "x")] == [
        *("high", "low"),
        *(None, None),
    ]


def test_without_a_baseline_a_drop_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="has no baseline") as caught:
        judge(REPORT, from_flags(max_drop="mu_bar=1"))
    assert caught.value.code == "RS122"
    with pytest.raises(UsageError, match="matches no layer"):
        held(REPORT, "mu_bar=1@nowhere")
    with pytest.raises(UsageError, match="unknown measure"):
        held(REPORT, "mu_baar=1")


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("inputs.sha256", {"inputs": {"sha256": "cd" * 32}}),
        ("inputs.sha256", {"inputs": {}}),
        ("environment.dtype", {"environment": {"dtype": "bfloat16"}}),
        ("environment.dtype", {"environment": {}}),
        ("version of mu_bar", {"rows": changed(1.0, "mu_bar", version=2).rows}),
    ],
)
def test_something_else_cannot_be_compared(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(CannotMeasure, match=field) as caught:
        held(replace(REPORT, **changes), "mu_bar=1")
    assert (caught.value.code, caught.value.exit_code) == ("RS641", 3)


def test_another_version_of_another_measure_and_another_seed_do_not_matter() -> None:
    report = changed(1.0, "effective_rank", version=2)
    report = replace(report, inputs={**report.inputs, "seed": 7}, model={"spec": "other.pt"})
    assert held(report, "mu_bar=1").passed


def test_a_baseline_that_knows_no_inputs_holds_for_none() -> None:
    unknown = replace(REPORT, inputs={})
    with pytest.raises(CannotMeasure, match=r"inputs\.sha256"):
        held(unknown, "mu_bar=1", Baseline.of(unknown))


# the file


@pytest.mark.parametrize("report", [REPORT, a_report(depth=2), a_hostile_report(), Report({}, ())])
def test_it_is_read_back(tmp_path: Path, report: Report) -> None:
    path = tmp_path / "b.json"
    Baseline.of(report).save(path)
    assert read_baseline(path) == Baseline.of(report)
    assert path.read_text().isascii()


def test_keys_are_sorted_and_numbers_short(tmp_path: Path) -> None:
    text = Baseline.of(a_report(depth=2, decay=0.777)).to_json()
    data = json.loads(text)
    assert text == json.dumps(data, indent=1, sort_keys=True) + "\n"
    values = [value for layer in data["layers"] for value in layer["values"].values()]
    assert len(values) > 30
    assert all(value == rounded(value) for value in values)
    assert [layer["name"] for layer in data["layers"]] == ["blocks.0.input", "blocks.0", "blocks.1"]


def test_what_has_no_number_is_not_recorded() -> None:
    recorded = {name for entry in BASELINE.layers if entry.name == "enc.1" for name in entry.values}
    assert recorded >= {"mu_bar", "pooled:effective_rank", "value_cosine:head1"}
    assert not recorded & {"mu", "stable_rank", "rankme", "entropy_rank", "mu_1inf", "token_similarity"}


def test_hostile_names_are_compared(tmp_path: Path) -> None:
    report = a_hostile_report()
    Baseline.of(report).save(tmp_path / "b.json")
    found = held(report, "mu_bar=0%", read_baseline(tmp_path / "b.json"))
    assert [finding.layer for finding in found.findings] == list(HOSTILE)
    assert statuses(found).count("ok") >= len(HOSTILE) - 1


DATA = json.loads(BASELINE.to_json())
BREAKS = {
    "schema": lambda d: d.update(schema="rankscope.baseline/2"),
    "no schema": lambda d: d.pop("schema"),
    "no inputs": lambda d: d.pop("inputs"),
    "inputs": lambda d: d.update(inputs=3),
    "no dtype": lambda d: d.update(environment={}),
    "versions": lambda d: d.update(versions=7),
    "layers": lambda d: d.update(layers={"a": 1}),
    "layer": lambda d: d["layers"].append("x"),
    "name": lambda d: d["layers"][0].update(name=None),
    "index": lambda d: d["layers"][0].update(index="x"),
    "text for a number": lambda d: d["layers"][0]["values"].update(mu_bar="0.5"),
    "true for a number": lambda d: d["layers"][0]["values"].update(mu_bar=True),
    "null for a number": lambda d: d["layers"][0]["values"].update(mu_bar=None),
    "no number": lambda d: d["layers"][0]["values"].update(mu_bar=float("nan")),
}


@pytest.mark.parametrize("name", BREAKS)
def test_one_that_is_broken_is_refused(tmp_path: Path, name: str) -> None:
    data = copy.deepcopy(DATA)
    BREAKS[name](data)
    (tmp_path / "b.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match="is no baseline") as caught:
        read_baseline(tmp_path / "b.json")
    assert (caught.value.code, caught.value.exit_code) == ("RS640", 2)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b"<<<<<<< HEAD\n{}"])
def test_one_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.json").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_baseline(tmp_path / "b.json")
    assert caught.value.code == "RS640"


def test_a_missing_one_and_a_folder(tmp_path: Path) -> None:
    for path, match in ((tmp_path / "none.json", "there is no such baseline"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=match) as caught:
            read_baseline(path)
        assert caught.value.code == "RS640"


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_wrong_is_said_in_the_words_of_the_file(tmp_path: Path, name: str) -> None:
    data = copy.deepcopy(DATA)
    BREAKS[name](data)
    path = tmp_path / "b.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError) as caught:
        read_baseline(path)
    assert not re.search(r"Error|Python|NoneType|'\w+' object|indices", str(caught.value))
    for content, told in (("", "it is empty"), ("{\n1", "from line 2 on"), ("<<<<<<< HEAD\n{}", "merge conflict")):
        path.write_text(content)
        with pytest.raises(UsageError, match=told):
            read_baseline(path)


def test_changes_are_counted() -> None:
    def of(**values: float) -> Baseline:
        return Baseline.of(Report({}, tuple(row("h", 1, name, value) for name, value in values.items())))

    old = of(mu=4.0, mu_bar=0.5, rankme=3.0, stable_rank=1.0)
    assert changes(old, of(mu=5.0, mu_bar=0.1, rankme=3.0, mu_1inf=1.0)) == (
        "1 number rose, 1 fell, 1 stayed, 1 new, 1 gone; the largest change is mu_bar at h.0, 0.5 to 0.1"
    )
    assert changes(old, old) == "4 numbers stayed"
    assert changes(of(), of(mu=1.0)) == "1 number is new"
    assert changes(of(), of()) == "it holds no number"


# the ratchet


def test_improved_only_gets_tighter() -> None:
    rows = (row("h", 1, "mu_bar", 0.5), row("h", 1, "token_norm_ratio", 3.0), row("h", 1, "grad_norm", 1.0))
    old = replace(REPORT, rows=rows, layers=())
    better = replace(old, rows=tuple(replace(r, value=v) for r, v in zip(rows, (0.6, 2.0, 5.0), strict=True)))
    worse = replace(old, rows=tuple(replace(r, value=v) for r, v in zip(rows, (0.4, 4.0, 0.1), strict=True)))
    baseline = Baseline.of(old)
    assert baseline.improved(better).layers[0].values == {"mu_bar": 0.6, "token_norm_ratio": 2.0, "grad_norm": 1.0}
    assert baseline.improved(worse) == baseline
    assert baseline.improved(better).improved(worse) == baseline.improved(better)


def test_improved_takes_what_is_new_and_keeps_what_was_not_measured() -> None:
    old = Baseline.of(replace(REPORT, rows=(row("h", 1, "mu_bar", 0.5),), layers=()))
    new = replace(REPORT, rows=(row("h", 1, "mu", 2.0),), layers=(Layer("h", 1, "h.0", ""),))
    assert old.improved(new).layers[0].values == {"mu_bar": 0.5, "mu": 2.0}
    with pytest.raises(CannotMeasure, match="dtype"):
        old.improved(replace(new, environment={"dtype": "float64"}))
