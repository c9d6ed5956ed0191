"""C_V of attention that shows no matrices of its own: found by what was multiplied, or said to be unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from certified import Block, Net, Rows, tokens
from torch import Tensor, nn
from torch.nn import functional as F

import rankscope

if TYPE_CHECKING:
    from rankscope.certificate import Sequence


def worst(model: Any, inputs: Any) -> Sequence:
    return rankscope.certify(model, inputs).stacks[0].worst


class Heads(nn.Module):
    """Attention written as users write it: fused or not, with fewer heads of values, with biases."""

    def __init__(self, heads: int = 4, kept: int = 4, *, fused: bool = False, bias: bool = False) -> None:
        super().__init__()
        self.heads, self.kept, self.size, self.fused = heads, kept, 12 // heads, fused
        width = self.size * (heads + 2 * kept)
        self.qkv = nn.Linear(12, width, bias=bias)
        self.split = nn.ModuleList(nn.Linear(12, self.size * n, bias=bias) for n in (heads, kept, kept))
        self.out = nn.Linear(12, 12, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        sizes = [self.size * n for n in (self.heads, self.kept, self.kept)]
        parts = self.qkv(x).split(sizes, -1) if self.fused else [linear(x) for linear in self.split]
        q, k, v = (part.unflatten(-1, (-1, self.size)).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.kept < self.heads, is_causal=True)
        return self.out(y.transpose(1, 2).flatten(2))

    def maps(self) -> Tensor:
        """C_g of each head, as the slow twin has it."""
        sizes = [self.size * n for n in (self.heads, self.kept, self.kept)]
        value = self.qkv.weight.split(sizes)[2] if self.fused else self.split[2].weight
        shared = self.heads // self.kept
        return torch.stack(
            [
                value[(g // shared) * self.size :][: self.size].T
                @ self.out.weight[:, g * self.size :][:, : self.size].T
                for g in range(self.heads)
            ]
        ).double()


KINDS: dict[str, dict[str, Any]] = {
    "apart": {},
    "fused": {"fused": True},
    "grouped": {"kept": 2},
    "grouped and fused": {"kept": 2, "fused": True},
    "with biases": {"bias": True},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_the_maps_of_the_heads_are_found(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = Net([Block(Heads(**options), 128.0, Rows()) for _ in range(2)], Rows())
    found = worst(model, tokens())
    for block, step in zip(model.blocks, found.steps, strict=True):
        stacked = block.mixer.maps().transpose(0, 1).flatten(1)
        assert step.value_norm == pytest.approx(torch.linalg.matrix_norm(stacked, 2).item(), rel=1e-5)
        assert step.form is not options.get("bias", False)
        assert step.mixing_norm > 1


def test_what_a_zoo_mixer_shows_is_what_is_found_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from rankscope.zoo import build
    from rankscope.zoo._parts import Attention

    model, ids = build("lambda_skip,depth=2,width=12,lam=128"), torch.randint(0, 256, (2, 16))
    shown = worst(model, ids)
    monkeypatch.delattr(Attention, "mixing")
    found = worst(model, ids)
    for a, b in zip(shown.steps, found.steps, strict=True):
        assert (a.mixing_norm, a.value_norm, a.condition) == pytest.approx(
            (b.mixing_norm, b.value_norm, b.condition), rel=1e-4
        )
        assert a.form is b.form is True
    assert found.theorem.status == shown.theorem.status


@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention_of_torch_is_found(batch_first: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 3, 24, dropout=0.0, batch_first=batch_first)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    x = tokens() if batch_first else tokens().transpose(0, 1)
    found = worst(model, x)
    for layer, step in zip(model.layers, found.steps, strict=True):
        value, out = layer.self_attn.in_proj_weight[24:], layer.self_attn.out_proj.weight
        heads = [value[4 * g :][:4].T @ out[:, 4 * g :][:, :4].T for g in range(3)]
        assert step.value_norm == pytest.approx(torch.linalg.matrix_norm(torch.cat(heads, 1), 2).item(), rel=1e-4)


def test_a_map_that_is_not_seen_is_not_guessed() -> None:
    class Odd(Heads):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (linear(x).unflatten(-1, (-1, self.size)).transpose(1, 2) for linear in self.split)
            y = F.scaled_dot_product_attention(q, k, torch.tanh(v), is_causal=True)
            return self.out(y.transpose(1, 2).flatten(2))

    class Gated(Heads):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (linear(x).unflatten(-1, (-1, self.size)).transpose(1, 2) for linear in self.split)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(y.transpose(1, 2).flatten(2) * x.sigmoid())

    for kind, why in ((Odd, "make its values"), (Gated, "what its heads mixed")):
        found = worst(Net([Block(kind(), 128.0, Rows()) for _ in range(2)], Rows()), tokens())
        assert why in str(found.steps[0].no_values)
        assert found.steps[0].mixing_norm > 1
        assert found.theorem.status == "not applicable"


@pytest.mark.models
@pytest.mark.parametrize("name", ["GPT2", "Llama"])
def test_models_of_transformers_are_found(name: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"vocab_size": 64}
    if name == "GPT2":
        config = transformers.GPT2Config(n_layer=2, n_embd=24, n_head=3, n_positions=32, **sizes)
    else:
        config = transformers.LlamaConfig(
            num_hidden_layers=2,
            hidden_size=24,
            num_attention_heads=6,
            num_key_value_heads=2,
            intermediate_size=48,
            **sizes,
        )
    model = getattr(transformers, f"{name}Model")(config)
    found = worst(model, torch.randint(0, 64, (2, 16)))
    assert all(step.value_norm is not None and step.lam == 1.0 and step.adds == 2 for step in found.steps)
    assert found.seminorm.status == "holds"
