"""Adds as a plan lists them: every sum, its layer, and where its stack normalises."""

import pytest
import torch
from nets import PreNorm, Stack, ids
from torch import nn

from rankscope.capture.plan import plan
from rankscope.capture.trace import trace
from rankscope.records import Batch


def adds(model, *args):
    with torch.no_grad():
        return plan(trace(model.eval(), Batch(args))).adds


class Written(nn.Module):
    """A norm written out."""

    def __init__(self, form):
        super().__init__()
        self.form, self.weight = form, nn.Parameter(torch.ones(16))

    def forward(self, x):
        if self.form == "layer":
            y = x - x.mean(-1, keepdim=True)
            return self.weight * y / (y.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        if self.form == "power":
            return self.weight * (x * (x.pow(2).mean(-1, keepdim=True) + 1e-5).pow(-0.5))
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


NORMS = {"module": lambda: nn.LayerNorm(16), "layer": lambda: Written("layer"), "rms": lambda: Written("rms")}
NORMS["power"] = lambda: Written("power")
MODULES = NORMS | {"none": nn.Identity}


class Block(nn.Module):
    def __init__(self, where, norm):
        super().__init__()
        self.norm, self.inner, self.outer = MODULES[norm](), nn.Linear(16, 16), nn.Linear(16, 16)
        self.where = where

    def forward(self, x):
        branch = lambda z: self.outer(torch.relu(self.inner(z)))  # noqa: E731 - short
        if self.where == "pre":
            return x + branch(self.norm(x))
        return self.norm(x + branch(x)) if self.where == "post" else x + self.norm(branch(x))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("where", ["pre", "post", "sandwich"])
def test_where_a_stack_normalises(where, norm):
    found = adds(Stack([Block(where, norm) for _ in range(3)]), ids())
    assert [add.norm for add in found if add.status == "residual"] == [where] * 3
    assert [add.layer.index for add in found if add.status == "residual"] == [1, 2, 3]


def test_a_net_without_norms_has_none_before_its_branches():
    blocks = [Block("pre", "none") for _ in range(3)]
    model = Stack(blocks)
    model.head = nn.Sequential(nn.LayerNorm(16), model.head)  # after the last block: none of theirs
    assert [add.norm for add in adds(model, ids()) if add.status == "residual"] == [None] * 3


@pytest.mark.parametrize(("first", "norm"), [(True, "pre"), (False, "post")])
def test_encoder_layers_of_torch(first, norm):
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=first)
    found = adds(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), torch.randn(2, 5, 16))
    assert [(add.layer.index, add.status, add.norm) for add in found] == [
        (k, "residual", norm) for k in (1, 1, 2, 2, 3, 3)
    ]


def test_every_sum_says_where_it_is():
    (first, second) = adds(Stack([PreNorm(16, inplace=True), PreNorm(16, inplace=True)]), ids())
    assert (first.module, first.operation, first.kind, first.skip) == ("blocks.0", "add_", "identity", 0)
    assert first.layer.name == "blocks.0"
    assert second.steps != first.steps
    assert first.steps[0] == "blocks.0"
