"""Edits on models of transformers, x-transformers and torch.nn: as the same change made with modules and hooks."""

import copy
import re

import pytest
import torch
from architectures import CATALOGUE, encoder
from small import of_transformers
from torch import nn
from torch.nn import functional as F

import rankscope
from rankscope.errors import CaptureError

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore"),  # the packages warn of their own accord; ours are errors elsewhere
]
OPEN = 1.2784645428  # silu(OPEN) = 1


def need(package):
    pytest.importorskip(package, reason=f"needs the package {package}, which `make check` installs")


def ids(tokens=9):
    return torch.randint(3, 90, (2, tokens), generator=torch.Generator().manual_seed(0))


def run(model, given):
    output = model(**given) if isinstance(given, dict) else model(given)
    return output if isinstance(output, torch.Tensor) else output[0]


def agree(model, hand, edit, given=None):
    """The edited model against one changed by hand; the edit does something, and leaves nothing behind."""
    given = ids() if given is None else given
    with torch.no_grad():
        plain = run(model, given)
        with rankscope.edit(model, edit, given) as told:
            edited = run(model, given)
        expected = run(hand, given)
        assert not torch.allclose(plain, expected, atol=1e-4)
        torch.testing.assert_close(edited, expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(run(model, given), plain)
    return told[0]


def hooked(model, pattern, change):
    """A copy of a model in which the output of modules is changed."""
    hand = copy.deepcopy(model)
    for name, module in hand.named_modules():
        if re.search(pattern, name):
            module.register_forward_hook(change)
    return hand


def nothing(module, args, output):
    del module, args
    return torch.zeros_like(output) if isinstance(output, torch.Tensor) else (torch.zeros_like(output[0]), *output[1:])


BRANCHES = {  # model -> the modules of its attention, of its MLP
    "GPT2": (r"\.attn$", r"\.mlp$"),
    "Llama eager": (r"\.self_attn$", r"\.mlp$"),
    "GPTNeoX": (r"\.attention$", r"\.mlp$"),
    "Mixtral": (r"\.self_attn$", r"\.mlp$"),
    "T5": (r"(SelfAttention|EncDecAttention)$", r"\.DenseReluDense$"),
    "Bert": (r"attention\.output\.dense$", r"\d\.output\.dense$"),
    "Jamba": (r"\.(mamba|self_attn)$", r"\.feed_forward$"),
    "Rwkv": (r"\.attention$", r"\.feed_forward$"),
}


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("name", BRANCHES)
def test_attention_or_mlps_add_nothing(name, kind):
    need("transformers")
    model = CATALOGUE[name].build()
    given = {"input_ids": ids(), "decoder_input_ids": ids()} if name == "T5" else ids()
    agree(model, hooked(model, BRANCHES[name][kind], nothing), ("no_attention", "no_mlp")[kind], given)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("edit", ["no_attention", "no_mlp"])
def test_branches_of_torch_nn(edit, norm_first):
    model, x = encoder(batch_first=True, norm_first=norm_first), torch.randn(2, 9, 32)
    pattern = {"no_attention": r"\.self_attn$", "no_mlp": r"\.linear2$"}[edit]
    agree(model, hooked(model, pattern, nothing), edit, x)


class Same(nn.Module):
    """The identity in place of a norm, whose numbers other code asks for."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.variance_epsilon = getattr(norm, "weight", None), getattr(norm, "variance_epsilon", None)

    def forward(self, x):
        return x


class Silent(Same):
    """A gated norm without the norm."""

    def forward(self, x, gate):
        return x * F.silu(gate)


NORMS = {"GPT2": 7, "Llama": 7, "Bert": 7, "Gemma2": 13, "T5": 17, "Mamba2": 7, "plain": 7, "Qwen3": 13, "GPTNeoX": 7}


@pytest.mark.parametrize("name", NORMS)
def test_norms_become_the_identity(name):
    need("x_transformers" if name == "plain" else "transformers")
    model = CATALOGUE[name].build()
    hand = copy.deepcopy(model)
    for path, module in list(hand.named_modules()):
        if "Norm" in type(module).__name__ and next(module.children(), None) is None:
            hand.set_submodule(path, Silent(module) if "Gated" in type(module).__name__ else Same(module))
    given = {"input_ids": ids(), "decoder_input_ids": ids()} if name == "T5" else ids()
    told = agree(model, hand, "no_norm", given)
    counted = re.findall(r"(\d+)(?= norms?\b| outside them)", told)
    assert sum(map(int, counted)) == NORMS[name], told


def opened(projection, rows):
    """Rows of a projection, which give the gate, give a number whose SiLU is 1."""
    with torch.no_grad():
        projection.weight[rows] = 0
        projection.bias[rows] = OPEN


@pytest.mark.parametrize("kind", ["Mamba", "Mamba2"])
def test_the_gate_of_mamba_is_left_out(kind):
    need("transformers")
    given = {"num_heads": 4, "head_dim": 16} if kind == "Mamba2" else {}
    model = of_transformers(kind, {"use_bias": True, **given})
    hand = copy.deepcopy(model)
    for block in hand.layers:
        size = block.mixer.intermediate_size
        opened(block.mixer.in_proj, slice(size, 2 * size) if kind == "Mamba" else slice(0, size))
    assert agree(model, hand, "no_gate") == "no_gate: 3 gates in 3 layers"


class Kept(Same):
    """Without the gate as well."""

    def forward(self, x, gate):
        del gate
        return x


def test_mamba_2_without_gate_and_norm():
    need("transformers")
    model = of_transformers("Mamba2", {"num_heads": 4, "head_dim": 16})
    hand = copy.deepcopy(model)
    for path, module in list(hand.named_modules()):
        if "Gated" in type(module).__name__:
            hand.set_submodule(path, Kept(module))
        elif "Norm" in type(module).__name__:
            hand.set_submodule(path, Same(module))
    agree(model, hand, "no_gate+no_norm")
    agree(model, hand, "no_norm+no_gate")


def mixed(one, two):
    """A hook on value projections that mixes in what the first of them gave."""
    held = []

    def change(module, args, output):
        del module, args
        if not held or getattr(change, "count", 0) % change.depth == 0:
            held[:] = [output]
            change.count = getattr(change, "count", 0) + 1
            return output
        change.count += 1
        return one * held[0] + two * output

    change.depth = 3
    return change


VALUES = {  # model -> its value projections
    "Llama": r"v_proj$",
    "Llama eager": r"v_proj$",
    "Bert": r"self\.value$",
    "Rwkv": r"\.attention\.value$",
    "xLSTM": r"mlstm_layer\.v$",
    "plain": r"to_v$",
    "flash": r"to_v$",
}


@pytest.mark.parametrize("name", VALUES)
def test_values_of_the_first_layer_are_mixed_in(name):
    need("x_transformers" if CATALOGUE[name].package == "x-transformers" else "transformers")
    model = CATALOGUE[name].build()
    told = agree(model, hooked(model, VALUES[name], mixed(0.3, 0.9)), "value_residual=0.3,0.9")
    assert told == "value_residual=0.3,0.9: 1 first value and 2 mixed values in 3 layers"


def test_values_of_multihead_attention():
    model, x = encoder(batch_first=True), torch.randn(2, 9, 32)
    hand, held = copy.deepcopy(model), []

    def mixing(module, args, kwargs, output):
        del kwargs, output
        weights, biases = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
        q, k, v = (F.linear(args[0], w, b).unflatten(-1, (4, -1)).mT.mT for w, b in zip(weights, biases, strict=True))
        held[:] = held or [v]
        y = F.scaled_dot_product_attention(
            *(y.transpose(1, 2) for y in (q, k, 0.3 * held[0] + 0.9 * v if v is not held[0] else v))
        )
        return module.out_proj(y.transpose(1, 2).flatten(2)), None

    for layer in hand.layers:
        layer.self_attn.register_forward_hook(mixing, with_kwargs=True)
    agree(model, hand, "value_residual=0.3,0.9", x)


def test_value_residual_of_x_transformers():
    need("x_transformers")
    plain = CATALOGUE["plain"].build()
    hand = CATALOGUE["value residual"].build()
    hand.load_state_dict(plain.state_dict(), strict=False)
    for module in hand.modules():  # its mix is learned, from each token: now half of either
        if isinstance(learned := getattr(module, "to_value_residual_mix", None), nn.Module):
            nn.init.zeros_(learned[0].weight)
            nn.init.zeros_(learned[0].bias)
    agree(plain, hand, "value_residual=0.5,0.5")


@pytest.mark.parametrize("name", ["Mamba", "Mamba2"])
def test_a_state_space_model_has_no_values_to_mix(name):
    need("transformers")
    model = CATALOGUE[name].build()
    for edit in ("value_residual", "svformer", "neutreno"):
        with pytest.raises(CaptureError, match="state-space model") as caught, rankscope.edit(model, edit, ids()):
            raise AssertionError(edit)
        assert caught.value.code == "RS467"


@pytest.mark.parametrize(
    ("name", "edit", "code"),
    [
        ("Mamba", "no_mlp", "RS460"),
        ("GPT2", "no_gate", "RS461"),
        ("Gemma3nText", "no_norm", "RS462"),
        ("MobileBert", "no_norm", "RS463"),
        ("ResNet", "drop@3", "RS464"),
        ("gated by a recurrent cell", "no_attention", "RS460"),
        ("Rwkv", "neutreno", "RS467"),
    ],
)
def test_what_cannot_be_had_is_refused(name, edit, code):
    need("x_transformers" if CATALOGUE[name].package == "x-transformers" else "transformers")
    model, given = CATALOGUE[name].build(), torch.randn(2, 3, 32, 32) if name == "ResNet" else ids()
    with pytest.raises(CaptureError) as caught, rankscope.edit(model, edit, given):
        run(model, given)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["GPT2", "T5", "Mamba"])
def test_a_dropped_block_gives_what_it_got(name):
    need("transformers")
    model = CATALOGUE[name].build()
    pattern = {"GPT2": r"^h\.1$", "T5": r"block\.1$", "Mamba": r"^layers\.1$"}[name]

    def change(module, args, output):
        del module
        return args[0] if isinstance(output, torch.Tensor) else (args[0], *output[1:])

    given = {"input_ids": ids(), "decoder_input_ids": ids()} if name == "T5" else ids()
    agree(model, hooked(model, pattern, change), "drop@2", given)


@pytest.mark.parametrize("edit", ["no_mlp", "no_attention"])
def test_several_streams_beside_each_other_are_refused(edit):
    need("transformers")
    entry = CATALOGUE["Gemma3nText"]
    model = entry.build()
    refused = pytest.raises(CaptureError, match="keeps several streams, 4 beside each other")
    with refused as raised, rankscope.edit(model, edit, ids()):
        pass
    assert raised.value.code == "RS460"
