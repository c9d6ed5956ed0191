"""Stacks of repeated blocks are found by what runs, not by names of classes."""

import pytest
import torch
from nets import Attention, Experts, PreNorm, Shared, Stack, cnn, ids
from torch import nn

from rankscope.capture.blocks import stacks
from rankscope.capture.trace import trace
from rankscope.records import Batch


def found(model, *args, **kwargs):
    model.eval()
    with torch.no_grad():
        watched = trace(model, Batch(args, kwargs))
    return {pattern: len(calls) for pattern, calls in stacks(watched).items()}


@pytest.mark.parametrize(
    ("model", "args", "expected"),
    [
        (Stack([PreNorm(16) for _ in range(4)]), (ids(),), {"blocks.*": 4}),
        (Stack([PreNorm(16, inplace=True) for _ in range(3)]), (ids(),), {"blocks.*": 3}),
        (Stack([Attention(16, eager=True, output="tuple") for _ in range(3)]), (ids(),), {"blocks.*": 3}),
        (Stack([Attention(16, output="dict") for _ in range(3)]), (ids(),), {"blocks.*": 3}),
        (Stack([Attention(16, skip=False) for _ in range(3)]), (ids(),), {"blocks.*": 3}),
        (Shared(PreNorm(16), 5), (ids(),), {"blocks.*": 5}),
        (Stack([Experts(16) for _ in range(3)]), (ids(),), {"blocks.*": 3}),
        (cnn(), (torch.randn(2, 3, 12, 12),), {"*": 3}),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), (torch.randn(5, 4),), {}),
        (nn.LSTM(4, 8, 2), (torch.randn(5, 2, 4),), {}),
    ],
    ids=[
        "pre_norm",
        "in_place",
        "eager_tuple",
        "dict",
        "no_skip",
        "one_block_5_calls",
        "experts",
        "cnn",
        "mlp",
        "lstm",
    ],
)
def test_stacks(model, args, expected):
    assert found(model, *args) == expected


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")  # torch's own, of the net under test
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_encoder_and_decoder_of_torch_are_two_stacks(norm_first, batch_first):
    model = nn.Transformer(16, 2, 2, 3, 32, norm_first=norm_first, batch_first=batch_first)
    x = torch.randn(2, 6, 16) if batch_first else torch.randn(6, 2, 16)
    assert found(model, x, x) == {"encoder.layers.*": 2, "decoder.layers.*": 3}


class Ladder(nn.Module):
    """One block without a number in its name, called once a scale, with a modulation between the calls."""

    def __init__(self):
        super().__init__()
        self.scale, self.block = Modulate(), PreNorm(16)

    def forward(self, x):
        for step in range(4):
            x = self.block(self.scale(x, step))
        return x


class Modulate(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(1, 16)

    def forward(self, x, step):
        shift = self.map(torch.full((1,), float(step)))
        return x * (1 + shift) + shift


class Quantised(nn.Module):
    """An activation of one's own, which a model numbers and calls twice before its blocks."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(1, 1)

    def forward(self, x):
        return (x * self.scale.weight.sum()).round()


class Gate(nn.Module):
    """A residual add inside one kernel, which no trace sees."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([Modulate()])
        self.gate, self.branch = nn.GRUCell(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        y = self.norms[0](x, 1).flatten(0, 1)
        return self.gate(self.branch(y), x.flatten(0, 1)).reshape_as(x)


class Prepared(Stack):
    def __init__(self, blocks, act):
        super().__init__(blocks)
        self.act1, self.embed = act, nn.Sequential(self.embed, act, act)


def test_what_is_called_often_but_adds_nothing_is_no_stack_beside_the_blocks():
    assert found(Prepared([PreNorm(16) for _ in range(3)], Quantised()), ids()) == {"blocks.*": 3}
    assert found(Stack([Gate() for _ in range(3)]), ids()) == {"blocks.*": 3}


class Reversed(nn.Module):
    """The stack that runs first is the deeper one in names, and the later one in the order of attributes."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(PreNorm(16) for _ in range(2))
        self.first = nn.ModuleDict({"blocks": nn.ModuleList(PreNorm(16) for _ in range(3))})

    def forward(self, x):
        for block in [*self.first["blocks"], *self.blocks]:
            x = block(x)
        return x


def test_stacks_come_in_the_order_of_their_running():
    assert list(found(Reversed(), torch.randn(2, 5, 16)).items()) == [("first.blocks.*", 3), ("blocks.*", 2)]


class Cell(nn.Module):
    """A recurrent cell of one's own, called once a token: a loop over tokens is no stack."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x, h):
        return torch.tanh(self.inner(x) + self.outer(h))


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = Cell()

    def forward(self, x):
        h = torch.zeros(x.shape[0], 16)
        return torch.stack([h := self.cell(token, h) for token in x.unbind(1)], 1)


def test_one_unnumbered_block_called_often_is_a_stack_and_a_cell_is_not():
    assert found(Ladder(), torch.randn(2, 9, 16)) == {"block": 4}
    assert found(Loop(), torch.randn(2, 9, 16)) == {}


def test_a_trace_keeps_no_activation_alive_and_leaves_no_hook():
    model = Stack([PreNorm(16) for _ in range(2)])
    before = model(ids())
    watched = trace(model, Batch((ids(),)))
    assert len(watched._flows) == 0
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(model(ids()), before)


def test_hooks_are_gone_after_the_model_raised():
    from rankscope.errors import CaptureError

    model = Stack([PreNorm(16) for _ in range(2)])
    with pytest.raises(CaptureError, match="IndexError"):
        trace(model, Batch((ids() + 99,)))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
