"""Agreement with independent implementations on copied weights, to 1e-5.

x-transformers as installed has no ResiDual any more (1.42 had): its Post-LN stream is compared with torch's layers.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from rankscope.zoo import build
from rankscope.zoo._parts import positions

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = "depth=3,width=16,heads=2,vocab=20"


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(0))


def stirred(spec: str) -> nn.Module:
    """A model whose norms are no longer ones, which would not tell whether they are used."""
    model, generator = build(f"{spec},{SMALL}"), torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5, generator=generator)
    return model


def sublayers(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """The mixer or MLP, and the norm, of every sublayer."""
    for block in model.blocks:
        if hasattr(block, "attention"):
            yield from ((part.mixer, part.norm) for part in (block.attention, block.mlp))
        else:
            yield from ((block.mixer, block.norm), (block.mlp, block.mlp_norm))


def copy_norm(norm: nn.Module, theirs: nn.Module) -> None:
    """Theirs may hold what its weight is more than 1."""
    theirs.gamma.copy_(norm.weight - float(theirs.unit_offset))


def decoder(model: nn.Module, **options: Any) -> nn.Module:
    """A decoder of x-transformers with the weights of a model."""
    x_transformers = pytest.importorskip("x_transformers", reason="needs the package x-transformers")
    given = {"heads": 2, "attn_dim_head": 8, "ff_no_bias": True} | options
    layers = x_transformers.Decoder(dim=16, depth=3, **given)
    with torch.no_grad():
        for (mixer, norm), (norms, theirs, _) in zip(sublayers(model), layers.layers, strict=True):
            copy_norm(norm, next(each for each in norms if each is not None))
            if hasattr(mixer, "query"):
                for name in ("query", "key", "value", "out"):
                    getattr(theirs, f"to_{name if name == 'out' else name[0]}").weight.copy_(
                        getattr(mixer, name).weight
                    )
            else:
                theirs.ff[0][0].weight.copy_(mixer.up.weight)
                theirs.ff[2].weight.copy_(mixer.down.weight)
        if hasattr(layers.final_norm, "gamma"):
            copy_norm(getattr(model, "dual_norm", model.last_norm), layers.final_norm)
    return layers.eval()


def logits(model: nn.Module, layers: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """The logits with these layers in the place of the model's blocks."""
    x = model.embedding(ids)
    return model.head(layers(model.first_norm(x + positions(ids.shape[1], 16, x.device))))


def mixing_by(layers: nn.Module, share: float) -> nn.Module:
    """The same layers, every learned mix of theirs set to one share of V_n for all tokens."""
    with torch.no_grad():
        for name, weight in layers.named_parameters():
            if "to_value_residual_mix" in name:
                weight.fill_(math.log(share / (1 - share)) if name.endswith("bias") else 0)
    return layers


@pytest.mark.models
class TestXTransformers:
    @pytest.mark.parametrize("scale", [1.0, 0.5])
    def test_both_streams_of_resi_dual(self, scale: float, ids: torch.Tensor) -> None:
        model = stirred(f"resi_dual,scale={scale}")
        x_transformers = pytest.importorskip("x_transformers", reason="needs the package x-transformers")
        if "resi_dual" not in inspect.signature(x_transformers.Decoder.__base__.__init__).parameters:
            pytest.skip("this x-transformers has no resi_dual any more; with 1.42.0 the two agree")
        layers = decoder(model, resi_dual=True, resi_dual_scale=scale)
        x = model.first_norm(model.embedding(ids) + positions(ids.shape[1], 16, ids.device))
        torch.testing.assert_close(model.through(x), layers(x), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("norm", ["pre", "post"])
    def test_transformer(self, norm: str, ids: torch.Tensor) -> None:
        model = stirred(f"transformer,norm={norm}")
        layers = decoder(model, pre_norm=norm == "pre")
        torch.testing.assert_close(model(ids), logits(model, layers, ids), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("lam", [4.0, 0.3, -2.0])
    def test_lambda_is_their_scale_of_the_residual(self, lam: float, ids: torch.Tensor) -> None:
        model = stirred(f"lambda_skip,norm=layer,mlp=on,lam={lam}")
        layers = decoder(model, pre_norm=False, scale_residual_constant=lam)
        torch.testing.assert_close(model(ids), logits(model, layers, ids), rtol=0, atol=1e-5)
        other = decoder(model, pre_norm=False)
        assert not torch.allclose(model(ids), logits(model, other, ids), atol=1e-2)

    def test_identity_resformer_is_their_value_residual(self, ids: torch.Tensor) -> None:
        model = stirred("resformer,variant=identity")
        layers = decoder(model, add_value_residual=True, learned_value_residual_mix=False)
        torch.testing.assert_close(model(ids), logits(model, layers, ids), rtol=0, atol=1e-5)
        assert not torch.allclose(model(ids), logits(model, decoder(model), ids), atol=1e-2)

    @pytest.mark.parametrize("share", [0.2, 0.9])
    def test_constant_resformer_is_their_learned_mix_at_one_value(self, share: float, ids: torch.Tensor) -> None:
        model = stirred(f"resformer,variant=constant,lambda_1={1 - share},lambda_2={share}")
        layers = mixing_by(decoder(model, add_value_residual=True), share)
        torch.testing.assert_close(model(ids), logits(model, layers, ids), rtol=0, atol=1e-5)

    def test_learnable_resformer_too_once_it_has_learned(self, ids: torch.Tensor) -> None:
        model = stirred("resformer,variant=learnable")
        with torch.no_grad():
            for block in list(model.blocks)[1:]:
                block.attention.mixer.mix.lambda_1.fill_(0.3)
                block.attention.mixer.mix.lambda_2.fill_(0.7)
        layers = mixing_by(decoder(model, add_value_residual=True), 0.7)
        torch.testing.assert_close(model(ids), logits(model, layers, ids), rtol=0, atol=1e-5)


def torch_layers(model: nn.Module, *, norm_first: bool) -> list[nn.TransformerEncoderLayer]:
    """torch's layers with the weights of a model."""
    found, parts = [], list(sublayers(model))
    for (attention, norm1), (mlp, norm2) in zip(parts[::2], parts[1::2], strict=True):
        layer = nn.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", batch_first=True, norm_first=norm_first, bias=False)
        maps = [getattr(attention, name).weight for name in ("query", "key", "value")]
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": torch.cat(maps),
                "self_attn.out_proj.weight": attention.out.weight,
                "linear1.weight": mlp.up.weight,
                "linear2.weight": mlp.down.weight,
                "norm1.weight": norm1.weight,
                "norm2.weight": norm2.weight,
            }
        )
        found.append(layer)
    return found


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_transformer_is_torchs_encoder(norm: str, ids: torch.Tensor) -> None:
    model = stirred(f"transformer,norm={norm}")
    mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
    x = model.embedding(ids) + positions(ids.shape[1], 16, ids.device)
    for layer in torch_layers(model, norm_first=norm == "pre"):
        x = layer(x, src_mask=mask)
    torch.testing.assert_close(model(ids), model.head(model.last_norm(x)), rtol=0, atol=1e-5)


def test_the_first_stream_of_resi_dual_is_torchs_post_norm_encoder(ids: torch.Tensor) -> None:
    model, seen = stirred("resi_dual"), []
    for block in model.blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(out[0]))
    model(ids)
    mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
    x = model.embedding(ids) + positions(ids.shape[1], 16, ids.device)
    for layer, stream in zip(torch_layers(model, norm_first=False), seen, strict=True):
        x = layer(x, src_mask=mask)
        torch.testing.assert_close(stream, x, rtol=0, atol=1e-5)
