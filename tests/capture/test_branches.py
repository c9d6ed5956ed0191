"""Branches of blocks, and which of them mix tokens; the gates of those that do."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankscope.capture.branches import blocks_of, branches
from rankscope.capture.gates import gates
from rankscope.capture.graph import graph
from rankscope.capture.plan import plan
from rankscope.records import Batch

WIDTH, TOKENS = 8, 7
ATTENTION = "F.scaled_dot_product_attention(*(m(h)[:, None] for m in (self.a, self.b, self.c)))[:, 0]"
MLP = "self.d(torch.relu(self.c(h)))"
LOOP = """s, y = torch.zeros_like(h[:, 0]), []
for t in range(h.shape[1]):
    s = torch.tanh(self.a(s) + self.b(h[:, t])); y.append(s)
return x + self.o(torch.stack(y, 1))"""
# The forward of a block over x, h = norm(x) -> kinds of its branches: M mixes tokens, a dot does not.
FORMS = {
    "attention, MLP": (f"x = x + self.o({ATTENTION}); h = self.norm(x); return x + {MLP}", "M."),
    "post-norm": (f"h = x; x = self.norm(x + self.o({ATTENTION})); h = x; return self.norm(x + {MLP})", "M."),
    "parallel": (f"return x + (self.o({ATTENTION}) + {MLP})", "M."),
    "parallel, the stream first": (f"return x + self.o({ATTENTION}) + {MLP}", "M."),
    "two MLPs": ("return x + (self.c(h) + self.d(h))", "."),
    "scaled": (f"return 0.5 * x + self.gain * {MLP}", "."),
    "flattened": (f"x, h = x.flatten(0, 1), h.flatten(0, 1); return (x + {MLP}).view(-1, {TOKENS}, {WIDTH})", "."),
    "highway": ("t = self.c(h).sigmoid(); return t * self.d(h) + (1 - t) * x", "."),
    "linear attention": ("return x + self.o(self.a(h) @ (self.b(h).mT @ self.c(h)))", "M"),
    "fft": ("return x + torch.fft.fft(h, dim=1).real", "M"),
    "scan": ("return x + self.o(self.a(h).cumsum(1))", "M"),
    "loop over tokens": (LOOP, "M"),
    "convolution alone": ("return x + self.o(self.conv(h.mT).mT)", "M"),
    "convolution beside attention": (f"x = x + self.o({ATTENTION}); return x + self.o(self.conv(h.mT).mT)", "M."),
    "linear map over tokens, MLP": (f"x = x + self.over(h.mT).mT; h = self.norm(x); return x + {MLP}", "M."),
    "turned otherwise": (
        f"x = x + self.over(h.permute(0, 2, 1)).transpose(1, 2); h = self.norm(x); return x + {MLP}",
        "M.",
    ),
    "gMLP": ("return x + self.d(self.c(h) * self.over(self.a(h).mT).mT)", "M"),
    "as many tokens as hidden features": ("y = x + self.wide(self.narrow(h)); return y + self.c(self.norm(y))", ".."),
    "convolution of one token": ("return x + self.point(h.mT).mT", "."),
    "experts in a loop": (
        "y = torch.zeros_like(h)\nfor e in (self.a, self.b, self.c, self.d):\n    y = y + e(h)\nreturn x + y",
        ".",
    ),
    "addmm": ("x, h = x[0], h[0]; return torch.addmm(x, self.c(h), self.o.weight)[None]", "."),
    "positions": ("return x + self.gain + torch.arange(8.0).sin() + self.c(h)", "."),
    "no skip": ("return self.c(h)", ""),
}
GATES = {
    "y * act(z)": (f"return x + self.o({ATTENTION} * F.silu(self.d(h)))", 1),
    "act(z) * y": (f"return x + self.o(torch.sigmoid(self.d(h)) * {ATTENTION})", 1),
    "norm after the gate": (f"return x + self.o(F.rms_norm({ATTENTION} * F.silu(self.d(h)), (8,)))", 1),
    "norm before the gate": (f"return x + self.o(F.rms_norm({ATTENTION}, (8,)) * F.silu(self.d(h)))", 1),
    "no output projection": (f"return x + {ATTENTION} * self.d(h)", 1),
    "one number a token": (f"return x + self.o({ATTENTION} * self.d(h)[..., :1].sigmoid())", 1),
    "convolution": ("return x + self.o(self.conv(h.mT).mT * self.d(h))", 1),
    "in place": (f"y = {ATTENTION}; y *= self.d(h); return x + self.o(y)", 1),
    "none": (f"return x + self.o({ATTENTION})", 0),
    "a learned gain": (f"return x + self.o({ATTENTION} * self.gain)", 0),
    "of an MLP": (f"x = x + self.o({ATTENTION}); return x + self.o(self.c(h) * F.silu(self.d(h)))", 0),
    "of the values": (
        "v = (self.c(h) * self.d(h))[:, None]; return x + self.o(F.scaled_dot_product_attention(v, v, v)[:, 0])",
        0,
    ),
    "both mix": (f"return x + self.o({ATTENTION} * self.a(h).cumsum(1))", 0),
}


class Block(nn.Module):
    def __init__(self, text):
        super().__init__()
        self.norm, self.gain = nn.LayerNorm(WIDTH), nn.Parameter(torch.rand(WIDTH))
        self.a, self.b, self.c, self.d, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(5))
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.over, self.narrow, self.wide = (
            nn.Linear(TOKENS, TOKENS),
            nn.Linear(WIDTH, TOKENS),
            nn.Linear(TOKENS, WIDTH),
        )
        self.point = nn.Conv1d(WIDTH, WIDTH, 1)
        lines = text if "\n" in text else text.replace("; ", "\n")
        names = {"torch": torch, "F": F}
        exec("def forward(self, x):\n    h = self.norm(x)\n    " + lines.replace("\n", "\n    "), names)
        self.run = names["forward"]

    def forward(self, x):
        return self.run(self, x)


def as_set(kinds):
    return "".join(sorted(kinds))


def seen(text):
    torch.manual_seed(0)
    model = nn.Sequential(*(Block(text) for _ in range(3))).eval()
    with torch.no_grad():
        watched = graph(model, Batch((torch.randn(1, TOKENS, WIDTH),)))
    return branches(watched, blocks_of(watched, plan(watched)))


@pytest.mark.parametrize("form", FORMS)
def test_what_a_block_adds_is_found_and_told_apart(form):
    text, kinds = FORMS[form]
    found = dict.fromkeys((1, 2, 3), "")
    for branch in seen(text):
        found[branch.layer.index] += "M" if branch.mixes else "."
    assert {index: as_set(got) for index, got in found.items()} == dict.fromkeys(found, as_set(kinds))


@pytest.mark.parametrize("form", GATES)
def test_the_gate_of_a_mixer_is_found(form):
    text, count = GATES[form]
    found = gates(seen(text))
    assert [gate.layer.index for gate in found] == [1, 2, 3] * count


KINDS = {  # model -> the branches of its blocks
    "GPT2": {"M."},
    "Bert": {"M."},
    "GPTNeoX": {"M."},
    "Mamba": {"M"},
    "T5": {"M.", "MM."},
    "Mixtral": {"M."},
    "Rwkv": {"M."},
    "FNet": {"M."},
}


@pytest.mark.models
@pytest.mark.filterwarnings("ignore")  # the packages warn of their own accord
@pytest.mark.parametrize("name", KINDS)
def test_the_branches_of_a_model(name):
    pytest.importorskip("transformers", reason="needs the package transformers, which `make check` installs")
    from architectures import CATALOGUE

    model, ids = CATALOGUE[name].build(), torch.randint(3, 90, (1, 31))
    kwargs = {"input_ids": ids, "decoder_input_ids": ids} if name == "T5" else {}
    with torch.no_grad():
        watched = graph(model, Batch(() if kwargs else (ids,), kwargs))
    found = {}
    for branch in branches(watched, blocks_of(watched, plan(watched))):
        found[branch.layer] = found.get(branch.layer, "") + ("M" if branch.mixes else ".")
    assert {as_set(got) for got in found.values()} == set(map(as_set, KINDS[name]))
