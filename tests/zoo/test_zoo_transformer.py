"""The transformer: limiting cases, and agreement with torch's own layers on copied weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankscope.zoo import build
from rankscope.zoo.transformer import RowNorm, Sublayer, positions

SMALL = "transformer,depth=3,width=16,heads=2,vocab=20"
NORMS = ("pre", "post", "row", "none")


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1))


def outputs(model: nn.Module, ids: torch.Tensor) -> list[torch.Tensor]:
    """What each block gives."""
    found: list[torch.Tensor] = []
    handles = [block.register_forward_hook(lambda module, args, out: found.append(out)) for block in model.blocks]
    model(ids)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mlp", ["on", "off"])
class TestLimits:
    def test_lambda_1_is_the_plain_skip_bit_for_bit(self, norm: str, mlp: str, x: torch.Tensor) -> None:
        model = build(f"{SMALL},norm={norm},mlp={mlp},lam=1")
        for block in model.blocks:
            expected = x
            for part in block:
                if norm == "pre":
                    expected = expected + part.mixer(part.norm(expected))
                else:
                    expected = part.norm(expected + part.mixer(expected))
            assert torch.equal(block(x), expected)

    def test_no_skip_is_lambda_0(self, norm: str, mlp: str, ids: torch.Tensor) -> None:
        off = build(f"{SMALL},norm={norm},mlp={mlp},skip=off")
        zero = build(f"{SMALL},norm={norm},mlp={mlp},lam=0")
        assert torch.equal(off(ids), zero(ids))
        assert not torch.equal(off(ids), build(f"{SMALL},norm={norm},mlp={mlp}")(ids))

    def test_one_lambda_is_the_same_for_every_block(self, norm: str, mlp: str, ids: torch.Tensor) -> None:
        one = build(f"{SMALL},norm={norm},mlp={mlp},lam=2.5")
        three = build(f"{SMALL},norm={norm},mlp={mlp},lam=2.5,2.5,2.5")
        assert torch.equal(one(ids), three(ids))

    def test_lambdas_go_to_their_blocks(self, norm: str, mlp: str) -> None:
        model = build(f"{SMALL},norm={norm},mlp={mlp},lam=1,-2,4")
        assert [{part.lam for part in block} for block in model.blocks] == [{1.0}, {-2.0}, {4.0}]


def test_lambda_weighs_the_skip_and_nothing_else(x: torch.Tensor) -> None:
    part = Sublayer(nn.Linear(16, 16, bias=False), nn.Identity(), pre=False, lam=3.0)
    assert torch.equal(part(x), 3 * x + part.mixer(x))


def test_attention_alone_has_no_mlp() -> None:
    assert [name for name, _ in build(f"{SMALL},mlp=off").blocks[0].named_children()] == ["attention"]
    assert [name for name, _ in build(SMALL).blocks[0].named_children()] == ["attention", "mlp"]


def test_ratio_is_hidden_units_over_width() -> None:
    assert build(f"{SMALL},ratio=2.5").blocks[0].mlp.mixer.up.out_features == 40


@pytest.mark.parametrize("lam", ["1", "-4", "1,2,40"])
def test_row_norm_gives_unit_rows_from_the_first_block_on(lam: str, ids: torch.Tensor) -> None:
    model = build(f"{SMALL},norm=row,mlp=off,lam={lam}").double()
    seen = []
    handle = model.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    seen += outputs(model, ids)
    handle.remove()
    assert len(seen) == 4
    for y in seen:
        torch.testing.assert_close(y.norm(dim=-1), torch.ones(2, 9, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_row_norm_does_not_depend_on_scale_and_leaves_zeros(dtype: torch.dtype) -> None:
    rows = torch.tensor([[3.0, 4.0], [0.03, 0.04], [0.0, 0.0]], dtype=dtype)
    expected = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]], dtype=dtype)
    torch.testing.assert_close(RowNorm()(rows), expected, rtol=1e-2 if rows.element_size() == 2 else 1e-6, atol=0)


def test_the_row_layer_is_the_formula_of_the_paper(ids: torch.Tensor) -> None:
    """Y(k+1) = D (M Y C_V + λ Y), one head, C_V = W_V W_O, M the causal softmax of Y W_Q W_Kᵀ Yᵀ/√d."""
    model = build("transformer,depth=1,width=16,heads=1,vocab=20,norm=row,mlp=off,lam=1.7").double()
    attention = model.blocks[0].attention.mixer
    w_q, w_k, w_v, w_o = (m.weight.T for m in (attention.query, attention.key, attention.value, attention.out))
    y = F.normalize(model.embedding(ids) + positions(9, 16, ids.device), dim=-1)
    scores = (y @ w_q @ w_k.T @ y.mT / 4).masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf)
    new = scores.softmax(dim=-1) @ y @ (w_v @ w_o) + 1.7 * y
    torch.testing.assert_close(outputs(model, ids)[0], new / new.norm(dim=-1, keepdim=True))


def torch_layer(block: nn.Module, norm_first: bool) -> nn.TransformerEncoderLayer:
    """torch's layer with the weights of a block."""
    layer = nn.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", batch_first=True, norm_first=norm_first, bias=False)
    attention, mlp = block.attention.mixer, block.mlp.mixer
    with torch.no_grad():
        for norm in (block.attention.norm, block.mlp.norm):  # ones would not tell whether they are used
            norm.weight.uniform_(0.5, 1.5)
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat(
                [m.weight for m in (attention.query, attention.key, attention.value)]
            ),
            "self_attn.out_proj.weight": attention.out.weight,
            "linear1.weight": mlp.up.weight,
            "linear2.weight": mlp.down.weight,
            "norm1.weight": block.attention.norm.weight,
            "norm2.weight": block.mlp.norm.weight,
        }
    )
    return layer


@pytest.mark.parametrize("causal", ["on", "off"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_agrees_with_torch_on_copied_weights(norm: str, causal: str, x: torch.Tensor, ids: torch.Tensor) -> None:
    model = build(f"{SMALL},norm={norm},causal={causal}")
    layers = [torch_layer(block, norm == "pre") for block in model.blocks]
    mask = nn.Transformer.generate_square_subsequent_mask(9) if causal == "on" else None
    for block, layer in zip(model.blocks, layers, strict=True):
        torch.testing.assert_close(block(x), layer(x, src_mask=mask), rtol=0, atol=1e-5)
    y = model.embedding(ids) + positions(9, 16, ids.device)
    for layer in layers:
        y = layer(y, src_mask=mask)
    if norm == "pre":  # nn.TransformerEncoder too leaves this norm to its caller
        y = F.layer_norm(y, (16,), model.last_norm.weight)
    torch.testing.assert_close(model(ids), model.head(y), rtol=0, atol=1e-5)


def test_without_the_mask_a_token_sees_those_after_it(ids: torch.Tensor) -> None:
    model = build(f"{SMALL},causal=off")
    changed = ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 20
    assert not torch.allclose(model(ids)[:, 0], model(changed)[:, 0])


def test_classifier_gives_one_row_a_sequence_and_trains(ids: torch.Tensor) -> None:
    model = build(f"{SMALL},head=classifier,classes=7,causal=off")
    logits = model(ids)
    assert logits.shape == (2, 7)
    F.cross_entropy(logits, torch.tensor([0, 6])).backward()
    assert all(p.grad is not None and p.grad.norm() > 0 for p in model.parameters())


@pytest.mark.parametrize("tokens", [1, 2, 700])
def test_any_length_works(tokens: int) -> None:
    logits = build(SMALL)(torch.zeros(1, tokens, dtype=torch.long))
    assert logits.shape == (1, tokens, 20)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("width", [1, 5, 16])
def test_positions_are_the_sinusoids(width: int) -> None:
    found = positions(6, width, torch.device("cpu")).double()
    half = (width + 1) // 2
    for t in range(6):
        for i in range(width):
            angle = torch.tensor(t / 10_000 ** ((i % half) / half), dtype=torch.float64)
            assert found[t, i].item() == pytest.approx((angle.sin() if i < half else angle.cos()).item(), abs=1e-6)


def test_values_pass_through_scaled_dot_product_attention(ids: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = F.scaled_dot_product_attention, []

    def spy(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options: bool) -> torch.Tensor:
        seen.append((tuple(v.shape), options))
        return real(q, k, v, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    build(SMALL)(ids)
    assert seen == [((2, 2, 9, 8), {"is_causal": True})] * 3


def test_an_id_out_of_range_is_refused_by_torch(ids: torch.Tensor) -> None:
    with pytest.raises(IndexError):
        build(SMALL)(ids + 20)
