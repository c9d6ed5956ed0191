"""Residual adds among the sums of a forward pass."""

import pytest
import torch
from nets import Attention, PreNorm, Stack, ids
from torch import nn

from rankscope.capture.blocks import stacks
from rankscope.capture.skips import statuses
from rankscope.capture.trace import trace
from rankscope.records import Batch

FORMS = {
    "a + b": lambda x, f: x + f,
    "b + a": lambda x, f: f + x,
    "torch.add": lambda x, f: torch.add(x, f),
    "other keyword": lambda x, f: torch.add(input=x, other=f),
    "alpha": lambda x, f: torch.add(x, f, alpha=0.5),
    "scaled skip": lambda x, f: 2 * x + f,
    "learned scale": lambda x, f: torch.ones(16) * x + f,
    "sub": lambda x, f: x - f,
    "lerp": lambda x, f: torch.lerp(x, f, 0.3),
    "addcmul": lambda x, f: torch.addcmul(x, f, f),
    "cast": lambda x, f: x.to(torch.float64) + f,
    "clone": lambda x, f: x.clone() + f,
    "view": lambda x, f: (x.reshape(-1, 16) + f.reshape(-1, 16)).view(x.shape),
    "sum of a list": lambda x, f: sum([x, f]),
    "+=": lambda x, f: x.clone().add_(f),
}


class Block(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.inner, self.outer, self.form = nn.Linear(16, 16), nn.Linear(16, 16), form

    def forward(self, x):
        return FORMS[self.form](x, self.outer(torch.tanh(self.inner(x)))).float()


def counts(model, *args):
    with torch.no_grad():
        watched = trace(model.eval(), Batch(args))
    blocks = {call for group in stacks(watched).values() for call in group}
    found = [status for status, _ in statuses(watched, blocks).values()]
    return {status: found.count(status) for status in set(found)}


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_write_a_residual_add_is_found(form):
    assert counts(Stack([Block(form) for _ in range(3)]), ids()) == {"residual": 3}


def test_pre_norm_and_attention():
    assert counts(Stack([PreNorm(16), PreNorm(16)]), ids()) == {"residual": 2}
    assert counts(Stack([Attention(16, eager=True) for _ in range(3)]), ids()) == {"residual": 3}


def test_no_skip_has_none():
    assert counts(Stack([Attention(16, skip=False) for _ in range(3)]), ids()) == {}


class Gated(nn.Module):
    """y + D·x inside a block, then a linear map: a sum, but no residual add."""

    def __init__(self):
        super().__init__()
        self.inner, self.mix, self.outer = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        h = self.inner(x)
        return x + self.outer(torch.tanh(self.mix(h)) + 0.5 * h)


def test_a_sum_inside_a_branch_is_internal():
    assert counts(Stack([Gated() for _ in range(3)]), ids()) == {"residual": 3, "internal": 3}


@pytest.mark.parametrize(("norm_first", "per_block"), [(True, 2), (False, 2)])
def test_encoder_layers_of_torch(norm_first, per_block):
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    assert counts(model, torch.randn(2, 5, 16)) == {"residual": 3 * per_block}
