"""The certificate beside the answer of a search is that of the edited model, on the inputs of the sweep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from swept import IDS, TINY, searched

import rankscope
from rankscope.errors import CaptureError
from rankscope.inputs import InputOptions, gather, shared
from rankscope.pipeline import MeasureOptions
from rankscope.sources import LoadOptions, open_model
from rankscope.sweeps import certified
from rankscope.sweeps.words import guarantees

if TYPE_CHECKING:
    from pathlib import Path

STRONG = "zoo:lambda_skip,depth=3,width=16,mixer=mamba"
NET = "zoo:lambda_skip,depth=4,width=16,heads=2,causal=off"
OPTIONS = {"random": IDS, "measures": "mu_bar"}


def test_it_is_that_of_certify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(shared, "gather", lambda *given: calls.append(given) or gather(*given))
    path = tmp_path / "s.json"
    rule = "mu_bar >= 0.8345 @ last"
    found = rankscope.sweep(NET, edit="lambda_skip=1:9:3", until=rule, output=path, **OPTIONS)
    assert len(calls) == 1  # the inputs are gathered once
    assert found.until is not None
    told = found.until.certified
    assert told is not None
    stack = rankscope.certify(f"{NET}+{found.until.edit}", random=IDS).stacks[0]
    worst, last = stack.worst, stack.worst.steps[-1]
    assert (told["stack"], told["layers"], told["sequence"], told["sequences"]) == (stack.stack, 4, worst.sequence, 4)
    for name in ("theorem", "additive", "seminorm"):
        every = [getattr(each, name) for each in stack.sequences]
        assert (told[name]["status"] == "holds") is all(each.status == "holds" for each in every)
        least = [each.smallest_lambda for each in every]
        assert told[name]["smallest_lambda"] == (None if None in least else max(least))
    assert told["additive"]["mu"] == worst.additive.bound
    assert last.mu is not None
    assert last.mu_bar is not None
    assert told["additive"]["mu"] <= last.mu == told["mu"]
    assert told["additive"]["mu_bar"] == pytest.approx(told["additive"]["mu"] / 4, rel=1e-4)  # 16 rows of unit norm
    assert json.loads(path.read_text())["until"]["certified"] == told
    assert rankscope.sweeps.read_sweep(path).until == found.until


def test_where_no_edit_is_needed_there_is_nothing_to_certify() -> None:
    found = rankscope.sweep(STRONG, edit="lambda_skip=300,301", until="mu_bar >= 0.1 @ last", **OPTIONS)
    assert found.until is not None
    assert (found.until.reference_keeps, found.until.certified) == ("ok", None)


def test_a_theorem_that_holds_has_its_bound() -> None:
    source = open_model(f"{STRONG}+lambda_skip=400", LoadOptions())
    inputs = gather(source, InputOptions(random=(IDS,)))
    told = certified.certified(source, inputs, MeasureOptions())
    first = rankscope.certify(f"{STRONG}+lambda_skip=400", random=IDS).stacks[0].worst.mu_first
    assert first is not None
    assert told["theorem"]["status"] == "holds"
    assert told["theorem"]["mu"] == pytest.approx(0.9**3 * first)
    assert told["theorem"]["mu"] < told["additive"]["mu"]


def test_an_edited_model_is_swept_and_certified_with_both_edits() -> None:
    rule = "mu_bar >= 0.6 @ last"
    found = rankscope.sweep(f"{NET}+lambda_skip=2@1", edit="lambda_skip=1:9:3", until=rule, **OPTIONS)
    assert found.reference is not None
    assert found.reference.spec == f"{NET}+lambda_skip=2@1"
    assert found.until is not None
    if found.until.edit is not None:
        whole = rankscope.certify(f"{NET}+lambda_skip=2@1+{found.until.edit}", random=IDS).stacks[0].worst
        assert found.until.certified is not None
        assert found.until.certified["mu"] == whole.steps[-1].mu


def test_per_layer_certifies_the_list() -> None:
    net = "zoo:lambda_skip,depth=3,width=16,heads=2,causal=off"
    options = {**OPTIONS, "per_layer": True}
    found = rankscope.sweep(net, edit="lambda_skip=1:9:3", until="mu_bar >= 0.7 @ last", **options)
    assert found.until is not None
    assert found.until.edit is not None
    whole = rankscope.certify(f"{net}+{found.until.edit}", random=IDS).stacks[0].worst
    assert found.until.certified is not None
    assert found.until.certified["mu"] == whole.steps[-1].mu


def test_where_nothing_is_certified_the_reason_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise CaptureError("RS482", "nothing was certified: no block gave a number")

    monkeypatch.setattr(certified, "certificate_of", refuse)
    found = rankscope.sweep(NET, edit="lambda_skip=1:9:3", until="mu_bar >= 0.6 @ last", **OPTIONS)
    assert found.until is not None
    assert found.until.certified is not None
    assert found.until.certified["reason"] == "nothing was certified: no block gave a number [RS482]"
    assert found.until.certified["additive"] is None
    assert guarantees(found) == [("certificate", "none: nothing was certified: no block gave a number [RS482]")]


def test_words() -> None:
    assert guarantees(searched())[0][0] == "certified"
    told = dict(guarantees(searched()))
    assert told["additive"] == "holds; mu at least 3.9 and mu_bar at least 0.7 at the last layer; least λ 9.5"
    assert told["Theorem 4.1"] == "not applicable: block 1: its rows are not scaled; least λ 5000"
    assert told["seminorm"] == "undefined: the tokens are not finite"


def test_compare_knows_edited_models() -> None:
    found = rankscope.compare(TINY, f"{TINY}+lambda_skip=2", **OPTIONS)
    assert [report.model["edits"] for report in found.reports] == [[], ["lambda_skip=2: 6 residual adds in 3 layers"]]
