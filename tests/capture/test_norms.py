"""Norms are found however they are written, and nothing else is taken for one."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankscope.capture.graph import graph
from rankscope.capture.norms import norms
from rankscope.records import Batch

WIDTH = 8
WRITTEN = {
    "rsqrt of mean squares": "x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)",
    "the root first": "torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * x",
    "x times x": "x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)",
    "quotient": "x / torch.sqrt(x.pow(2).sum(-1, keepdim=True))",
    "power of minus a half": "x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).pow(-0.5)",
    "operator": "x * (x ** 2).mean(-1, keepdim=True) ** -0.5",
    "length": "x / x.norm(dim=-1, keepdim=True).clamp_min(1e-6)",
    "vector norm": "x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + 1e-6)",
    "centred": "(x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()",
    "centred by std": "(x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)",
    "in groups": "(h := x.unflatten(-1, (2, -1))) .mul(torch.rsqrt(h.pow(2).mean(-1, keepdim=True))).flatten(-2)",
    "cast": "(x * torch.rsqrt(x.double().pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)",
    "with a gain in the root": "x * (self.gain * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)))",
    "absolute": "x / x.abs().mean(-1, keepdim=True)",
    "layer_norm": "F.layer_norm(x, (8,))",
    "rms_norm": "F.rms_norm(x, (8,), self.gain)",
    "normalize": "F.normalize(x, dim=-1)",
    "group_norm": "F.group_norm(x.mT, 2).mT",
}
OTHERS = {
    "softmax": "x.softmax(-1)",
    "softmax written out": "(e := x.exp()) / e.sum(-1, keepdim=True)",
    "weights of a mixture": "(w := x.sigmoid()) / w.sum(-1, keepdim=True)",
    "squeeze and excite": "x * self.map(x.mean(1, keepdim=True)).sigmoid()",
    "root of what is left": "x * torch.sqrt(1 - torch.sigmoid(x).square())",
    "another's length": "x / self.map(x).norm(dim=-1, keepdim=True)",
    "scaled by its length": "x * x.norm(dim=-1, keepdim=True)",
    "global response": "x * ((g := x.norm(dim=1, keepdim=True)) / g.mean(-1, keepdim=True))",
    "of the weights": "F.linear(x, self.map.weight / self.map.weight.norm(dim=-1, keepdim=True))",
    "attention": "torch.softmax(x @ x.mT / 8 ** 0.5, -1) @ x",
    "saturated": "torch.tanh(x)",
    "constant scale": "x * 8 ** 0.5",
}


def found(text, x=None):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.gain, self.map = nn.Parameter(torch.rand(WIDTH) + 0.5), nn.Linear(WIDTH, WIDTH)

        def forward(self, x):
            return eval(text, {"x": x, "self": self, "torch": torch, "F": F})

    with torch.no_grad():
        return norms(graph(Net(), Batch((torch.randn(2, 5, WIDTH) if x is None else x,))), {})


@pytest.mark.parametrize("form", WRITTEN)
def test_a_norm_is_found(form):
    known, rest = found(WRITTEN[form])
    assert len(known) == 1
    assert rest == []


@pytest.mark.parametrize("form", OTHERS)
def test_nothing_else_is_a_norm(form):
    known, _ = found(OTHERS[form])
    assert known == []


def test_a_root_of_squares_that_is_no_norm_is_told():
    known, rest = found("x * torch.sigmoid(torch.sqrt(x.pow(2).mean(-1, keepdim=True)))")
    assert known == []
    assert [operation.name for operation in rest] == ["sqrt"]


class Leaf(nn.Module):
    def __init__(self, text):
        super().__init__()
        self.text, self.gain = text, nn.Parameter(torch.rand(WIDTH) + 0.5)

    def forward(self, x):
        return eval(self.text, {"x": x, "self": self, "torch": torch, "F": F})


def in_leaf(module):
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), module)
    with torch.no_grad():
        return norms(graph(model, Batch((torch.randn(2, 5, WIDTH),))), {})[0]


@pytest.mark.parametrize(
    "module",
    [
        nn.LayerNorm(WIDTH),
        nn.RMSNorm(WIDTH),
        Leaf("self.gain * F.normalize(x, dim=-1) * 8 ** 0.5"),
        Leaf(WRITTEN["cast"]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_module_that_normalises_is_one_norm(module, dtype):
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), module).to(dtype)
    with torch.no_grad():
        (norm,), _ = norms(graph(model, Batch((torch.randn(2, 5, WIDTH, dtype=dtype),))), {})
    assert norm.module.module is module


def test_a_module_that_does_more_is_not_the_norm_in_it():
    (norm,) = in_leaf(Leaf("x + F.layer_norm(x, (8,))"))
    assert norm.module is None
    assert [operation.name for operation, _ in norm.operations] == ["layer_norm"]


def test_learned_scale_and_shift_go_with_a_norm_that_is_written_out():
    (norm,) = in_leaf(Leaf(f"x + ({WRITTEN['centred']} * self.gain + self.gain)"))
    assert [operation.name for operation, _ in norm.operations] == ["div", "sub", "mul", "add"]


def test_batch_norm_in_evaluation_is_found_by_its_function():
    model = nn.Sequential(nn.Conv1d(5, 5, 1), nn.BatchNorm1d(5)).eval()
    with torch.no_grad():
        (norm,), _ = norms(graph(model, Batch((torch.randn(2, 5, WIDTH),))), {})
    assert [operation.name for operation, _ in norm.operations] == ["batch_norm"]


MODELS = {"GPT2": 7, "Llama": 7, "T5": 17, "Mamba": 4, "Mamba2": 7, "xLSTM": 10, "Rwkv": 8, "MobileBert": 0, "Swin": 11}


@pytest.mark.models
@pytest.mark.filterwarnings("ignore")  # the packages warn of their own accord
@pytest.mark.parametrize("name", MODELS)
def test_every_norm_of_a_model(name):
    pytest.importorskip("transformers", reason="needs the package transformers, which `make check` installs")
    from architectures import CATALOGUE

    model, ids = CATALOGUE[name].build(), torch.randint(3, 90, (1, 9))
    kwargs = {"input_ids": ids, "decoder_input_ids": ids} if name == "T5" else {}
    image = (torch.randn(1, 3, 32, 32),) if name == "Swin" else ()
    with torch.no_grad():
        known, rest = norms(graph(model, Batch(image or (() if kwargs else (ids,)), kwargs)), {})
    assert (len(known), rest) == (MODELS[name], [])
