from __future__ import annotations

import io
import os
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from swept import IDS, TINY
from torch import nn

import rankscope
from rankscope.errors import CannotMeasure, UsageError
from rankscope.inputs import InputOptions
from rankscope.pipeline import MeasureOptions
from rankscope.sources import LoadOptions
from rankscope.sweeps import measuring
from rankscope.sweeps.jobs import packed
from rankscope.sweeps.measuring import Measuring
from rankscope.sweeps.spots import asked
from rankscope.sweeps.worker import serve

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {"random": IDS, "measures": "mu_bar,rank_one_residual_unit,mu_bar_unit"}


def last(point: Any, measure: str = "mu_bar") -> float:
    return float([row for row in point.report.rows if row.measure == measure][-1].value)


def test_every_point_is_what_probe_says_of_it() -> None:
    found = rankscope.sweep(TINY, edit="lambda_skip=0,2@2..3", **OPTIONS)
    assert [point.spec for point in found.points] == [f"{TINY}+lambda_skip={v}@2..3" for v in (0, 2)]
    for point in (found.reference, *found.points):
        assert point is not None
        report = rankscope.probe(point.spec, **OPTIONS)
        assert point.report is not None
        assert (report.rows, report.inputs, report.model) == (
            point.report.rows,
            point.report.inputs,
            point.report.model,
        )
        assert point.report.to_dict()["schema"] == "rankscope.report/1"


def test_the_model_is_opened_and_traced_once_and_runs_once_a_point(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, traced, forwards = [], [], []
    open_model, traces = measuring.open_model, rankscope.beginning.traced  # type: ignore[attr-defined]

    def opening(*arguments: Any) -> Any:
        source = open_model(*arguments)
        opened.append(source.spec)
        source.model.register_forward_hook(lambda *_: forwards.append(1))
        return source

    def tracing(*arguments: Any) -> Any:
        traced.append(1)
        return traces(*arguments)

    monkeypatch.setattr(measuring, "open_model", opening)
    monkeypatch.setattr("rankscope.beginning.traced", tracing)
    few = rankscope.sweep(TINY, edit="lambda_skip=0,2", **OPTIONS)
    assert (len(opened), len(traced)) == (1, 1)
    before = len(forwards)
    many = rankscope.sweep(TINY, edit="lambda_skip=0,2,3,4,5", **OPTIONS)
    assert (len(opened), len(traced)) == (2, 2)
    assert len(forwards) - before - before == len(many.points) - len(few.points)


def test_the_inputs_are_the_same_for_every_point_of_several_models() -> None:
    found = rankscope.sweep(
        "zoo:transformer,width=16,heads=2", over={"depth": [2, 3], "seed": [0, 1]}, measures="mu_bar"
    )
    assert found.columns == ("depth", "seed")
    marks = {point.report.inputs["sha256"] for point in found.points if point.report}
    assert len(found.points) == 4
    assert len(marks) == 1
    assert len({last(point) for point in found.points}) == 4


def test_one_is_the_unedited_model_bit_for_bit() -> None:
    found = rankscope.sweep(TINY, edit="lambda_skip=1,1.5", **OPTIONS)
    assert found.reference is not None
    assert found.reference.report is not None
    assert found.points[0].report is not None
    assert found.points[0].report.rows == found.reference.report.rows
    assert found.points[1].report is not None
    assert found.points[1].report.rows != found.reference.report.rows


def test_a_live_module_is_left_as_it_was() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = rankscope.sweep(model, inputs=torch.randn(2, 8, 16), edit="lambda_skip=0,4", measures="mu_bar")
    assert last(found.points[0]) < last(found.points[1])
    assert model.training
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_point_that_fails_says_so_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"no model")
    lost = str(tmp_path / "broken.pt")
    found = rankscope.sweep(lost, TINY, **OPTIONS)
    assert [point.report is None for point in found.points] == [True, False]
    assert found.points[0].reason is not None
    assert "[RS3" in found.points[0].reason
    assert str(tmp_path) not in found.to_json()
    assert found.inputs["sha256"]


def test_an_option_that_one_point_cannot_have_is_a_failed_point() -> None:
    found = rankscope.sweep("zoo:transformer,depth=2,heads=4", over="width=16,17", **OPTIONS)
    assert [point.report is None for point in found.points] == [False, True]


def test_where_nothing_opens_the_error_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"no model")
    with pytest.raises(CannotMeasure, match="RS3"):
        rankscope.sweep(str(tmp_path / "broken.pt"), edit="lambda_skip=1,2", random=IDS)


def test_an_edit_that_finds_nothing_is_a_failed_point() -> None:
    found = rankscope.sweep(f"{TINY},norm=pre", edit="lambda_skip=1,2@'nowhere.*'", **OPTIONS)
    assert all(point.report is None and "RS451" in str(point.reason) for point in found.points)
    assert found.reference is not None


def test_layers_are_ranked() -> None:
    found = rankscope.sweep(TINY, edit="no_skip@*", loss="lm", **OPTIONS)
    assert [point.values for point in found.points] == [{"no_skip@": float(k)} for k in (1, 2, 3)]
    assert [effect.rank for effect in found.ranking] == [1, 2, 3]
    changes = [effect.loss_change for effect in found.ranking]
    assert changes == sorted(changes, reverse=True, key=lambda value: value or 0.0)
    assert found.reference is not None
    assert found.reference.loss is not None
    by = {tuple(point.values.values()): point for point in found.points}
    for effect in found.ranking:
        point = by[tuple(effect.values.values())]
        assert point.loss is not None
        assert effect.loss_change == pytest.approx(point.loss - found.reference.loss)
        assert effect.changes["mu_bar"] == pytest.approx(last(point) - last(found.reference))
    without = rankscope.sweep(TINY, edit="no_skip@*", **OPTIONS)
    assert without.loss is None
    sizes = [abs(effect.changes["rank_one_residual_unit"] or 0.0) for effect in without.ranking]
    assert sizes == sorted(sizes, reverse=True)


def test_the_smallest_edit_is_found_and_each_side_of_its_edge_is_right() -> None:
    net = "zoo:lambda_skip,depth=4,width=16,heads=2,causal=off"
    wanted = {"until": "mu_bar >= 0.6 @ last", "loss": "lm", "random": IDS, "measures": "mu_bar"}
    found = rankscope.sweep(net, edit="lambda_skip=1:5:2", **wanted)
    assert found.until is not None
    assert found.until.value is not None
    assert found.until.low is not None
    assert found.until.reference_keeps == "failed"
    assert found.reference is not None
    assert last(found.reference) < 0.6
    for value, keeps in ((found.until.value, True), (found.until.low, False)):
        report = rankscope.probe(f"{net}+lambda_skip={value:g}", random=IDS, measures="mu_bar")
        assert (report.rows[-1].value >= 0.6) is keeps  # type: ignore[operator]
    assert "search" in {point.origin for point in found.points}
    certificate = rankscope.certify(f"{net}+{found.until.edit}", random=IDS)
    worst, told = certificate.stacks[0].worst, found.until.certified
    assert told is not None
    assert (told["reason"], told["layers"], told["sequence"]) == (None, 4, worst.sequence)
    assert told["additive"]["status"] == worst.additive.status
    assert told["additive"]["smallest_lambda"] >= worst.additive.smallest_lambda
    assert (told["mu"], told["mu_bar"]) == (worst.steps[-1].mu, worst.steps[-1].mu_bar)
    assert found.until.loss is not None
    assert "The loss goes from" in found.until.sentence


def test_a_value_for_every_layer() -> None:
    net = TINY
    rule = "mu_bar >= 0.8 @ last"
    found = rankscope.sweep(net, edit="lambda_skip=1:5:9", until=rule, per_layer=True, random=IDS, measures="mu_bar")
    assert found.until is not None
    assert found.until.value is not None
    values = dict(found.until.layers)
    assert list(values) == [1, 2, 3]
    assert all(1.0 <= value <= 5.0 for value in values.values())
    assert sum(values.values()) < 3 * found.until.value
    kept = rankscope.probe(f"{net}+{found.until.edit}", random=IDS, measures="mu_bar").rows[-1].value
    assert kept is not None
    assert kept >= 0.8


def test_slips_of_options_are_told_before_a_model_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "open_model", lambda *_: pytest.fail("a model was opened"))
    for options in ({"measures": "mu_baar"}, {"loss": "lmm"}, {"jobs": 0}, {"colour": "red"}, {"device": "tpu"}):
        with pytest.raises(UsageError):
            rankscope.sweep(TINY, edit="lambda_skip=1,2", **options)  # type: ignore[arg-type]
    monkeypatch.undo()
    with pytest.raises(UsageError, match="several processes"):
        rankscope.sweep(nn.Linear(4, 4), nn.GELU(), inputs=torch.randn(2, 8, 4), jobs=2, layers="*")


def test_a_worker_gives_the_same_numbers() -> None:
    one = rankscope.sweep(TINY, edit="lambda_skip=0,2", loss="lm", **OPTIONS)
    options = MeasureOptions(tuple(OPTIONS["measures"].split(",")), loss="lm")
    here = Measuring(None, LoadOptions(), InputOptions(random=(IDS,)), options)
    spots = asked([TINY], ["lambda_skip=0,2"]).spots()
    here.open(spots[0])
    questions = io.BytesIO(packed(here.setup(), spots) + b"".join(map(pickle.dumps, spots)))
    answers = io.BytesIO()
    serve(questions, answers)
    answers.seek(0)
    for expected in one.points:
        point = here.adopted(pickle.load(answers))
        assert replace(point, seconds=None, report=None) == replace(expected, seconds=None, report=None)
        assert point.report == replace(expected.report, created=point.report.created)


DYING = """
import os, torch
from torch import nn

class Dying(nn.Module):
    def __init__(self, at):
        super().__init__()
        self.at = at
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        if self.at and os.environ.get("RANK_TEST_PARENT") != str(os.getpid()):
            os._exit(9)
        for block in self.blocks:
            x = x + torch.relu(block(x))
        return x

def sound():
    return Dying(False), torch.randn(2, 8, 8)

def dies():
    return Dying(True), torch.randn(2, 8, 8)
"""


def test_a_process_that_ends_costs_one_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dying.py").write_text(DYING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK_TEST_PARENT", str(os.getpid()))
    found = rankscope.sweep("dying.py:sound", "dying.py:dies", jobs=2, measures="mu_bar")
    told = ["ok" if point.report else point.reason for point in found.points]
    assert told == ["ok", "the process that measured it ended (exit code 9)"]
