"""The transformer: limiting cases, and agreement with torch's own layers on copied weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankscope.zoo import build
from rankscope.zoo._parts import positions

SMALL = "transformer,depth=3,width=16,heads=2,vocab=20"
NORMS = ("pre", "post", "none")


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mlp", ["on", "off"])
@pytest.mark.parametrize("skip", ["on", "off"])
def test_a_block_is_what_it_says(norm: str, mlp: str, skip: str, x: torch.Tensor) -> None:
    for block in build(f"{SMALL},norm={norm},mlp={mlp},skip={skip}").blocks:
        expected = x
        for part in block:
            mixed = part.mixer(part.norm(expected) if norm == "pre" else expected)
            expected = expected + mixed if skip == "on" else mixed
            expected = part.norm(expected) if norm == "post" else expected
        assert torch.equal(block(x), expected)


def test_attention_alone_has_no_mlp() -> None:
    assert [name for name, _ in build(f"{SMALL},mlp=off").blocks[0].named_children()] == ["attention"]
    assert [name for name, _ in build(SMALL).blocks[0].named_children()] == ["attention", "mlp"]


def test_ratio_is_hidden_units_over_width() -> None:
    assert build(f"{SMALL},ratio=2.5").blocks[0].mlp.mixer.up.out_features == 40


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
