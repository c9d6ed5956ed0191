"""`certify` of edited models: the certificate is that of the model as the edits make it, or says why there is none."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import torch
from certified import Block, Mixer, Net, Rows, skip_net, tokens
from torch import Tensor, nn

import rankscope
from rankscope.certificate.run import certified
from rankscope.errors import CaptureError, UsageError
from rankscope.inputs import InputOptions, from_python
from rankscope.pipeline import MeasureOptions
from rankscope.sources import edited, open_model

if TYPE_CHECKING:
    from rankscope.certificate import Certificate, Sequence

IDS = "ids=2x32:int64:0..255"
PRE = "zoo:transformer,depth=3,width=16,heads=2"


def of_zoo(spec: str) -> Certificate:
    return rankscope.certify(spec, random=IDS)


def worst(spec: str) -> Sequence:
    return of_zoo(spec).stacks[0].worst


def of_module(model: nn.Module, edit: str, inputs: Any = None) -> Certificate:
    source = edited(open_model(model), (edit,))
    given = from_python(source, tokens() if inputs is None else inputs, InputOptions())
    return certified(source, given, MeasureOptions(), 0.9)


def numbers(found: Certificate) -> list[Any]:
    """Everything that is certified, flat."""
    flat: list[Any] = []

    def walk(data: Any) -> None:
        if isinstance(data, dict):
            data = [*data.values()]
        if isinstance(data, list | tuple):
            for item in data:
                walk(item)
        else:
            flat.append(data)

    walk([dataclasses.asdict(each) for stack in found.stacks for each in stack.sequences])
    return flat


def assert_same(one: Certificate, other: Certificate) -> None:
    for a, b in zip(numbers(one), numbers(other), strict=True):
        assert a == (pytest.approx(b, rel=1e-9, abs=1e-9) if isinstance(b, float) else b)


@pytest.mark.parametrize("mixer", ["attention", "s4d", "mamba2"])
def test_a_lambda_that_is_edited_in_is_certified_as_one_that_was_built_in(mixer: str) -> None:
    net = f"zoo:lambda_skip,depth=3,width=16,mixer={mixer}"
    found = of_zoo(f"{net},lam=1+lambda_skip=128")
    assert_same(found, of_zoo(f"{net},lam=128"))
    assert {step.lam for each in found.stacks[0].sequences for step in each.steps} == {128.0}
    assert found.stacks[0].worst.additive.status == "holds"
    assert found.model["edits"] == ["lambda_skip=128: 3 residual adds in 3 layers"]
    assert found.model["spec"] == f"{net},lam=1+lambda_skip=128"


class PreNorm(nn.Module):
    """Norm, mix, add; norm, multiply, add; with λ in the code."""

    def __init__(self, lam: float, *, inplace: bool = False) -> None:
        super().__init__()
        self.norm, self.mlp_norm = nn.LayerNorm(12), nn.LayerNorm(12)
        self.attn = nn.MultiheadAttention(12, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
        self.lam, self.inplace = lam, inplace

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        mixed = self.attn(y, y, y, need_weights=False)[0]
        x = x * self.lam + mixed if self.lam != 1 else x + mixed
        branch = self.mlp(self.mlp_norm(x))
        if self.inplace:
            x += branch
            return x
        return x * self.lam + branch if self.lam != 1 else x + branch


def pre_norm(lam: float, *, inplace: bool = False) -> Net:
    torch.manual_seed(0)
    return Net([PreNorm(lam, inplace=inplace) for _ in range(3)], nn.Identity())


@pytest.mark.parametrize("inplace", [False, True])
def test_a_pre_norm_transformer_is_certified_as_one_with_lambda_in_its_code(inplace: bool) -> None:
    found = of_module(pre_norm(1.0, inplace=inplace), "lambda_skip=2")
    assert_same(found, rankscope.certify(pre_norm(2.0), tokens()))
    assert [step.lam for step in found.stacks[0].worst.steps] == [4.0] * 3  # two adds a block
    assert found.stacks[0].worst.seminorm.status == "holds"


def test_every_add_of_a_post_norm_block_has_the_lambda_of_the_edit() -> None:
    """Its second add stands behind a norm: λ is held against the operand before the edit."""
    for lam in (2.0, -1.5, 0.0):
        found = worst(f"{PRE},norm=post+lambda_skip={lam}")
        assert {step.lam for step in found.steps} == {lam}
        assert found.seminorm.status == "not applicable"


def test_layers_and_several_edits() -> None:
    assert [step.lam for step in worst(f"{PRE}+lambda_skip=1.5,1,2").steps] == [2.25, 1.0, 4.0]
    assert [step.lam for step in worst(f"{PRE}+lambda_skip=2@2+lambda_skip=3@2").steps] == [1.0, 36.0, 1.0]
    found = of_zoo(f"{PRE}+no_mlp+lambda_skip=3@last")
    assert [step.lam for step in found.stacks[0].worst.steps] == [1.0, 1.0, 9.0]
    assert len(found.model["edits"]) == 2


def test_mu_is_that_of_a_probe_of_the_edited_model() -> None:
    for edit in ("lambda_skip=3", "no_skip", "drop@2", "noise=0.1", "scale=2", "no_norm", "value_residual", "neutreno"):
        report = rankscope.probe(f"{PRE}+{edit}", random=IDS, measures="mu")
        means = [row.value for row in report.rows]
        every = of_zoo(f"{PRE}+{edit}").stacks[0].sequences
        for k in range(3):
            mean = sum(each.steps[k].mu or 0.0 for each in every) / len(every)
            assert mean == pytest.approx(means[k + 1], rel=1e-4)


def test_no_skip_is_a_lambda_of_zero_and_a_dropped_block_keeps_all() -> None:
    bare = worst(f"{PRE}+no_skip")
    assert {step.lam for step in bare.steps} == {0.0}
    assert bare.seminorm.status == "fails"
    dropped = worst(f"{PRE}+drop@2").steps[1]
    assert (dropped.lam, dropped.rho, dropped.kept, dropped.no_seminorm) == (1.0, 0.0, 1.0, None)
    assert dropped.mu == dropped.mu_before


@pytest.mark.parametrize("edit", ["noise=0.1@2", "scale=2@2"])
def test_a_block_whose_output_is_edited_has_the_reason_and_no_number(edit: str) -> None:
    for norm in ("pre", "post"):
        found = worst(f"{PRE},norm={norm}+{edit}")
        step = found.steps[1]
        assert "an edit acts on what it gives" in str(step.no_seminorm)
        assert (step.lam, step.rho, step.bound, step.kept) == (None, None, None, None)
        assert found.steps[0].lam == 1.0
        assert "holds" not in {found.theorem.status, found.additive.status, found.seminorm.status}


@pytest.mark.parametrize("edit", ["value_residual", "svformer", "neutreno"])
def test_matrices_of_a_mixer_that_is_edited_are_not_told(edit: str) -> None:
    last = worst(f"{PRE}+{edit}").steps[-1]
    assert (last.mixing_norm, last.value_norm, last.condition) == (None, None, None)
    assert "an edit acts inside its mixer" in str(last.no_matrices)
    assert last.lam == 1.0


def test_mixed_values_of_a_model_without_matrices_have_no_map() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 2, 24, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    plain = rankscope.certify(model, tokens()).stacks[0].worst.steps[-1]
    assert plain.value_norm is not None
    found = of_module(model, "value_residual=0.7,0.3").stacks[0].worst.steps[-1]
    assert found.mixing_norm is not None
    assert found.value_norm is None
    assert "C_V is not told" in str(found.no_values)


def test_a_branch_that_is_left_out_has_not_the_form_of_the_theorem() -> None:
    found = worst("zoo:lambda_skip,depth=3,width=16,lam=256,mixer=mamba2+no_attention")
    assert {step.form for step in found.steps} == {False}
    assert found.theorem.status == "not applicable"
    assert "an edit is in it" in str(found.theorem.reason)
    assert found.additive.retained == pytest.approx(1.0, abs=1e-4)


def test_nothing_is_left_on_the_model_and_slips_are_told() -> None:
    model = skip_net(2.0)
    before = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()]
    assert [step.lam for step in of_module(model, "lambda_skip=3").stacks[0].worst.steps] == [6.0] * 3
    assert [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()] == before
    with pytest.raises(UsageError, match="unknown edit 'lambda_skp'"):
        of_zoo(f"{PRE}+lambda_skp=2")
    with pytest.raises(CaptureError, match="none of the model's"):
        of_zoo(f"{PRE}+lambda_skip=2@7")
    with pytest.raises(CaptureError, match="no mixer of tokens"):
        of_zoo(f"{PRE}+no_gate")


def test_a_mixer_without_matrices_and_batches_of_several_lengths() -> None:
    """The edit is in force in every batch, whatever its length."""
    torch.manual_seed(0)
    model = Net([Block(Mixer(12, shows=False), 1.0, Rows()) for _ in range(2)], Rows())
    found = of_module(model, "lambda_skip=5", [tokens(1, 16), tokens(2, 9)]).stacks[0].sequences
    assert len(found) == 3
    assert {step.lam for each in found for step in each.steps} == {5.0}
