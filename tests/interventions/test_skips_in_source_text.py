"""λ-skip on models of packages: as λ in the source text of their blocks, at every skip that one reads there."""

import copy
import inspect
import re
import sys
import textwrap
import types

import handwritten
import pytest
import torch
from architectures import CATALOGUE
from torch.nn import functional as F

import rankscope
from rankscope.capture.flow import tensors
from rankscope.capture.session import undisturbed

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore"),  # the packages warn of their own accord; ours are errors elsewhere
]
LAM = 0.5
RESIDUAL = {"residual + hidden_states": "LAM * residual + hidden_states"}
TORCH = {"x + self._": "LAM * x + self._"}
TEXTS = {  # model -> classes, by the end of their names -> what their text says, and what it says with λ
    "GPT2": {"Block": {"+ residual": "+ LAM * residual", "residual + feed": "LAM * residual + feed"}},
    "Llama": {"DecoderLayer": RESIDUAL},
    "Qwen3": {"DecoderLayer": RESIDUAL},
    "Gemma3Text": {"DecoderLayer": RESIDUAL},
    "Mixtral": {"DecoderLayer": RESIDUAL},
    "Mamba": {"Block": RESIDUAL},
    "Mamba2": {"Block": RESIDUAL},
    "Rwkv": {"Block": {"hidden + attention": "LAM * hidden + attention", "hidden + feed": "LAM * hidden + feed"}},
    "ViT": {"Layer": {"hidden_states + residual": "hidden_states + LAM * residual"}},
    "Bert": {"Output": {"+ input_tensor": "+ LAM * input_tensor"}},
    "Albert": {
        "AlbertAttention": {"hidden_states + attn_output": "LAM * hidden_states + attn_output"},
        "AlbertLayer": {"+ attention_output": "+ LAM * attention_output"},
    },
    "T5": {"LayerFF|Attention": {"hidden_states + self.dropout": "LAM * hidden_states + self.dropout"}},
    "GPTNeoX": {"Layer": {"attn_output + hidden_states": "attn_output + LAM * hidden_states"}},
    "GPTNeoX sequential": {
        "Layer": {
            "attn_output + hidden_states": "attn_output + LAM * hidden_states",
            "= mlp_output + attn_output\n": "= mlp_output + LAM * attn_output\n",
        }
    },
    "ResNet": {"BasicLayer": {"+= residual": "+= LAM * residual"}},
    "TransformerEncoder, post-norm": {"EncoderLayer": TORCH},
    "TransformerEncoder, pre-norm": {"EncoderLayer": TORCH},
    "TransformerDecoder, post-norm": {"DecoderLayer": TORCH},
    "TransformerDecoder, pre-norm": {"DecoderLayer": TORCH},
}


def written(model, texts):
    """A copy of a model whose blocks have λ in their text, wherever it says what was expected of it."""
    hand, met = copy.deepcopy(model), set()
    for ending, changes in texts.items():
        kinds = {type(part) for part in hand.modules() if re.search(f"({ending})$", type(part).__name__)}
        for kind in kinds:
            text = inspect.getsource(inspect.unwrap(kind.forward))
            text = re.sub(r"\n +\+ ", " + ", textwrap.dedent(text[text.index("    def ") :]))  # a sum on one line
            if not any(old in text for old in changes):
                continue  # T5Attention has no skip of its own
            for old, new in changes.items():
                met |= {old} if old in text else set()
                text = text.replace(old, new)
            scope = {**vars(sys.modules[kind.__module__]), "LAM": LAM}
            exec("from __future__ import annotations\n" + text, scope)
            for part in hand.modules():
                if type(part) is kind:
                    part.forward = types.MethodType(scope["forward"], part)
    assert met == {old for changes in texts.values() for old in changes}
    return hand


def given(name):
    """What an architecture runs on."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 90, (2, 9), generator=generator)
    if name == "ViT" or name == "ResNet":
        return {"pixel_values": torch.randn(2, 3, 32, 32, generator=generator)}
    if name.startswith("Transformer"):
        x = torch.randn(2, 9, 32, generator=generator)
        return {"src": x} if "Encoder" in name else {"tgt": x, "memory": x.flip(1)}
    return {"input_ids": ids, "decoder_input_ids": ids} if name == "T5" else {"input_ids": ids}


def run(model, inputs):
    with undisturbed(model), torch.no_grad():
        return next(tensors(model(**inputs)))


@pytest.mark.parametrize("name", TEXTS)
def test_lambda_is_that_of_the_source_text(name):
    package = CATALOGUE[name].package
    pytest.importorskip(package, reason=f"needs the package {package}, which `make check` installs")
    model, inputs = CATALOGUE[name].build(), given(name)
    plain = run(model, inputs)
    with rankscope.edit(model, f"lambda_skip={LAM}", inputs):
        edited = run(model, inputs)
    expected = run(written(model, TEXTS[name]), inputs)
    assert not torch.allclose(expected, plain, atol=1e-3)
    torch.testing.assert_close(edited, expected, rtol=1e-5, atol=1e-5)
    with rankscope.edit(model, "lambda_skip=1", inputs):
        assert torch.equal(run(model, inputs), plain)


def test_long_skips_of_a_u_net_are_edited_where_the_user_chooses_them():
    model, x = handwritten.unet("additive"), torch.randn(2, 3, 16, 16)

    def by_hand():
        y, left = model.entry(x), []
        for conv in model.down:
            left.append(y)
            y = conv(y).relu()
        for conv in model.up:
            y = conv(LAM * left.pop() + F.interpolate(y, scale_factor=2)).relu()
        return model.exit(y)

    with torch.no_grad():
        with rankscope.edit(model, f"lambda_skip={LAM}", x, choose=lambda add: add.status == "outside") as told:
            edited = model(x)
        torch.testing.assert_close(edited, by_hand(), rtol=1e-5, atol=1e-5)
    assert told == ("lambda_skip=0.5: 2 outside sums",)
