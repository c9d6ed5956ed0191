"""Edited models through the doors of a user: probe, compare, inspect, the command line."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import rankscope
from rankscope.cli import main
from rankscope.comparison import probing
from rankscope.errors import CaptureError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    torch.save(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval(), "model.pt")


def values(report, measure):
    return [row.value for row in report.rows if row.measure == measure]


class Skipped(nn.TransformerEncoderLayer):
    """The layer of torch with both skips times a number, by hand."""

    lam = 2.0

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        x = self.norm1(self.lam * src + self._sa_block(src, src_mask, src_key_padding_mask, is_causal=is_causal))
        return self.norm2(self.lam * x + self._ff_block(x))


def by_hand():
    model = torch.load("model.pt", weights_only=False)
    for layer in model.layers:
        layer.__class__ = Skipped
    return model


def test_every_measure_is_that_of_the_model_written_by_hand():
    """Blocks after the edit, values as attention gets them, gradients with the edit in force."""
    measures = "mu_bar,effective_rank,value_cosine,grad_norm,grad_effective_rank,attention_entropy"
    edited = rankscope.probe("model.pt+lambda_skip=2", measures=measures)
    hand = rankscope.probe(by_hand(), measures=measures)
    plain = rankscope.probe("model.pt", measures=measures)
    assert edited.model["edits"] == ["lambda_skip=2: 6 residual adds in 3 layers"]
    assert edited.model["spec"] == "model.pt+lambda_skip=2"
    assert plain.model["edits"] == []
    for name in measures.split(","):
        assert values(edited, name) == pytest.approx(values(hand, name), rel=1e-4, abs=1e-7, nan_ok=True), name
        assert values(edited, name) != pytest.approx(values(plain, name), rel=1e-5), name


def test_one_is_the_model_itself():
    edited, plain = rankscope.probe("model.pt+lambda_skip=1"), rankscope.probe("model.pt")
    assert [row.samples for row in edited.rows] == [row.samples for row in plain.rows]


def test_compare_reads_a_file_once_for_all_its_edits(monkeypatch):
    opened = []
    monkeypatch.setattr(probing, "open_model", lambda *args: opened.append(args[0]) or real(*args))
    found = rankscope.compare("model.pt", "model.pt+lambda_skip=0", "model.pt+lambda_skip=2", measures="mu_bar")
    assert opened == ["model.pt"]
    last = [values(subject.report, "mu_bar")[-1] for subject in found.subjects]
    assert last[1] < 1e-3 < last[0] < last[2]
    assert [len(subject.report.model["edits"]) for subject in found.subjects] == [0, 1, 1]
    opened.clear()
    rankscope.compare("model.pt", "model.pt", measures="mu_bar")
    assert opened == ["model.pt", "model.pt"]


real = probing.open_model


def test_inspect_lists_the_plan_and_what_edits_act_on():
    found = rankscope.inspect("model.pt+lambda_skip=2@2+no_skip@last")
    assert found.edits == ("lambda_skip=2@2: 2 residual adds in 1 layer", "no_skip@last: 2 residual adds in 1 layer")
    (stack,) = found.stacks
    assert stack.norm == "post"
    assert [(each.operation, each.skip, each.status) for each in stack.blocks[0].sums] == [("add", 0, "residual")] * 2
    assert rankscope.inspect("model.pt+no_skip@9").refusal.code == "RS451"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "shown"),
    [
        (["probe", "model.pt+lambda_skip=2", "--measures", "mu_bar"], 0, "lambda_skip=2: 6 residual adds in 3 layers"),
        (["compare", "model.pt", "vs", "model.pt+no_skip", "--measures", "mu_bar"], 0, "model.pt+no_skip"),
        (["inspect", "model.pt+no_skip"], 0, "skip first, residual"),
        (["probe", "model.pt+lambda_skp=2"], 2, "did you mean  lambda_skip"),
        (["probe", "model.pt+lambda_skip=2@0"], 2, "RS131"),
        (["probe", "modle.pt+lambda_skip=2"], 3, "did you mean  model.pt"),
        (["probe", "model.pt+lambda_skip=2@7"], 3, "RS451"),
        (["probe", "model.pt+lambda_skip=1,2"], 2, "RS132"),
        (["compare", "model.pt", "model.pt+no_skp"], 2, "did you mean  no_skip"),
    ],
)
def test_the_command_line(arguments, exit_code, shown, capsys):
    assert main(arguments) == exit_code
    told = "".join(capsys.readouterr())
    assert shown in re.sub(r"\n\s+", " ", told)
    assert "Traceback" not in told


def test_a_model_without_skips_is_refused_with_what_was_seen(tmp_path):
    Path("bare.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())\n"
    )
    with pytest.raises(CaptureError, match="finds nothing to act on") as raised:
        rankscope.probe("bare.py:net+no_skip")
    assert raised.value.code == "RS450"


def test_no_table_of_models():
    """What is edited is told by place and data flow: no name of a model is known."""
    named = re.compile("gpt2|bert|llama|mamba", re.IGNORECASE)
    folders = (ROOT / "rankscope" / name for name in ("interventions", "capture"))
    lines = [line for folder in folders for path in folder.rglob("*.py") for line in path.read_text().splitlines()]
    code = [line.partition("#")[0] for line in lines]
    assert len(code) > 1000
    assert [
        line for line in code if named.search(line) and re.search(r"[\"'][^\"' ]*(gpt2|bert|llama|mamba)", line)
    ] == []
