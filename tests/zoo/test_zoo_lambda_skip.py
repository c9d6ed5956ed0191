"""λ-skip: the formula of the paper, its limiting cases, and what tells λ."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankscope.zoo import build
from rankscope.zoo._parts import RowNorm, positions
from rankscope.zoo.lambda_skip import LambdaSkipBlock

SMALL = "lambda_skip,depth=3,width=16,heads=2,vocab=20"
NORMS = ("row", "layer", "rms", "none")
MIXERS = ("attention", "linear_attention", "s4d", "mamba", "mamba2")


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1))


def outputs(model: nn.Module, ids: torch.Tensor) -> list[torch.Tensor]:
    """What enters the first block, and what each gives."""
    found: list[torch.Tensor] = []
    handles = [model.blocks[0].register_forward_pre_hook(lambda module, args: found.append(args[0]))]
    handles += [block.register_forward_hook(lambda module, args, out: found.append(out)) for block in model.blocks]
    model(ids)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mlp", ["on", "off"])
@pytest.mark.parametrize("mixer", MIXERS)
class TestLimits:
    def test_lambda_1_is_the_plain_skip_bit_for_bit(self, norm: str, mlp: str, mixer: str, x: torch.Tensor) -> None:
        for lam in ("1", "learned"):  # a learned λ starts at 1
            for block in build(f"{SMALL},norm={norm},mlp={mlp},mixer={mixer},lam={lam}").blocks:
                expected = block.norm(x + block.mixer(x))
                if mlp == "on":
                    expected = block.mlp_norm(expected + block.mlp(expected))
                assert torch.equal(block(x), expected)

    def test_lambda_0_is_no_skip(self, norm: str, mlp: str, mixer: str, x: torch.Tensor) -> None:
        for block in build(f"{SMALL},norm={norm},mlp={mlp},mixer={mixer},lam=0").blocks:
            expected = block.norm(block.mixer(x))
            if mlp == "on":
                expected = block.mlp_norm(block.mlp(expected))
            torch.testing.assert_close(block(x), expected)  # sums in another order: 0·x + f lies otherwise in memory

    def test_one_lambda_is_the_same_for_every_block(self, norm: str, mlp: str, mixer: str, ids: torch.Tensor) -> None:
        rest = f"norm={norm},mlp={mlp},mixer={mixer}"
        assert torch.equal(build(f"{SMALL},{rest},lam=2.5")(ids), build(f"{SMALL},{rest},lam=2.5,2.5,2.5")(ids))
        assert not torch.equal(build(f"{SMALL},{rest},lam=2.5")(ids), build(f"{SMALL},{rest},lam=2.5,2.5,2")(ids))


@pytest.mark.parametrize(("norm", "plain"), [("layer", "post"), ("none", "none")])
@pytest.mark.parametrize("mlp", ["on", "off"])
@pytest.mark.parametrize(("mixer", "name"), [("attention", "transformer"), ("linear_attention", "linear_attention")])
def test_lambda_1_is_the_transformer_of_that_norm(
    norm: str, plain: str, mlp: str, mixer: str, name: str, ids: torch.Tensor
) -> None:
    ours = build(f"{SMALL},norm={norm},mlp={mlp},mixer={mixer}")
    theirs = build(f"{name},depth=3,width=16,heads=2,vocab=20,norm={plain},mlp={mlp}")
    for key, value in theirs.state_dict().items():
        own = key.replace("attention.mixer", "mixer").replace("attention.norm", "norm")
        own = own.replace("mlp.mixer", "mlp").replace("mlp.norm", "mlp_norm")
        assert torch.equal(ours.state_dict()[own], value), "same seed, same weights"
    assert torch.equal(ours(ids), theirs(ids))


def test_lambdas_of_the_blocks() -> None:
    blocks = build(f"{SMALL},lam=1,-2,4").blocks
    assert [{name: value.item() for name, value in block.lambdas().items()} for block in blocks] == [
        {"lambda": 1.0},
        {"lambda": -2.0},
        {"lambda": 4.0},
    ]
    assert not any("lam" in name for name, _ in build(SMALL).named_parameters())


def test_a_learned_lambda_is_a_parameter_of_its_block_and_trains(ids: torch.Tensor) -> None:
    model = build(f"{SMALL},lam=learned")
    named = {name: value for name, value in model.named_parameters() if name.endswith("lam")}
    assert {name: value.item() for name, value in named.items()} == {f"blocks.{k}.lam": 1.0 for k in range(3)}
    assert all(block.lambdas()["lambda"] is block.lam for block in model.blocks)
    optimiser = torch.optim.SGD(named.values(), lr=0.1)
    F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
    optimiser.step()
    assert all(value.item() != 1.0 for value in named.values())


def test_lambda_weighs_the_skip_and_nothing_else(x: torch.Tensor) -> None:
    block = LambdaSkipBlock(nn.Linear(16, 16, bias=False), lambda width: nn.Identity(), width=16, lam=3.0)
    assert torch.equal(block(x), 3 * x + block.mixer(x))


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("lam", ["1", "-4", "1,2,40", "0"])
def test_row_norm_gives_unit_rows_from_the_first_block_on(lam: str, mixer: str, ids: torch.Tensor) -> None:
    seen = outputs(build(f"{SMALL},mixer={mixer},lam={lam}").double(), ids)
    assert len(seen) == 4
    for y in seen:
        torch.testing.assert_close(y.norm(dim=-1), torch.ones(2, 9, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_row_norm_does_not_depend_on_scale_and_leaves_zeros(dtype: torch.dtype) -> None:
    rows = torch.tensor([[3.0, 4.0], [0.03, 0.04], [0.0, 0.0]], dtype=dtype)
    expected = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]], dtype=dtype)
    torch.testing.assert_close(RowNorm()(rows), expected, rtol=1e-2 if rows.element_size() == 2 else 1e-6, atol=0)


def test_the_layer_is_the_formula_of_the_paper(ids: torch.Tensor) -> None:
    """Y(k+1) = D (M Y C_V + λ Y), one head, C_V = W_V W_O, M the causal softmax of Y W_Q W_Kᵀ Yᵀ/√d."""
    model = build("lambda_skip,depth=1,width=16,heads=1,vocab=20,lam=1.7").double()
    attention = model.blocks[0].mixer
    w_q, w_k, w_v, w_o = (m.weight.T for m in (attention.query, attention.key, attention.value, attention.out))
    y = F.normalize(model.embedding(ids) + positions(9, 16, ids.device), dim=-1)
    scores = (y @ w_q @ w_k.T @ y.mT / 4).masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf)
    new = scores.softmax(dim=-1) @ y @ (w_v @ w_o) + 1.7 * y
    torch.testing.assert_close(outputs(model, ids)[1], new / new.norm(dim=-1, keepdim=True))


def test_the_mixing_matrix_of_an_ssm_is_the_product_of_the_paper(x: torch.Tensor) -> None:
    """M_ij = C_iᵀ (Π_(t=j+1..i) A_t) B_j Δ_j for j ≤ i, written as it stands."""
    for mixer in ("mamba", "mamba2"):
        module = build(f"{SMALL},mixer={mixer},state=3").blocks[0].mixer.double()
        step, a, b, c = (part.detach() for part in module.parts(x.double()))
        found = module.mixing(x.double()).matrices.detach()
        assert found.shape == (2, 2, 9, 9)
        for head in range(2):
            for i in range(9):
                for j in range(9):
                    decay = torch.stack(
                        [torch.exp(step[0, t, head] * a[head]) for t in range(j + 1, i + 1)] or [a[0] ** 0]
                    )
                    expected = (c[0, i] * decay.prod(dim=0) * b[0, j]).sum() * step[0, j, head] if j <= i else 0.0
                    assert found[0, head, i, j].item() == pytest.approx(float(expected), rel=1e-10, abs=0)


def test_an_ssm_has_nothing_but_its_state_space() -> None:
    for mixer, names in {
        "s4d": {"log_step", "log_decay", "frequency", "read_out"},
        "mamba": {"A_log", "step.weight", "step.bias", "enter.weight", "leave.weight"},
        "mamba2": {"A_log", "step.weight", "step.bias", "enter.weight", "leave.weight"},
    }.items():
        module = build(f"{SMALL},mixer={mixer}").blocks[0].mixer
        assert {name for name, _ in module.named_parameters()} == names


def test_an_ssm_of_one_head_mixes_all_features_by_one_matrix(x: torch.Tensor) -> None:
    for mixer in ("s4d", "mamba", "mamba2"):
        module = build(f"lambda_skip,width=16,heads=1,mixer={mixer}").blocks[0].mixer
        torch.testing.assert_close(module(x), module.mixing(x).matrices[:, 0] @ x)
