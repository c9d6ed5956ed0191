"""Factors of weight gradients, against the gradients that autograd forms."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from rankscope.capture.factors import factors, uses, watched_packing
from rankscope.capture.gradients import gradients
from rankscope.capture.plan import plan
from rankscope.capture.session import undisturbed
from rankscope.capture.trace import trace
from rankscope.records import Batch

WIDTH = 72


class Conv1D(nn.Module):
    """y = x W + b, as GPT-2 of transformers has it."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(WIDTH, 96) / 9), nn.Parameter(torch.zeros(96))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, WIDTH), self.weight).view(*x.shape[:-1], 96)


class Block(nn.Module):
    def __init__(self, mixer):
        super().__init__()
        self.mixer, self.out = mixer, nn.Linear(96, WIDTH, bias=False)

    def forward(self, x):
        return x + self.out(torch.tanh(self.mixer(x)))


class Twice(nn.Linear):
    """One weight, called with two inputs."""

    def forward(self, x):
        return super().forward(x) + super().forward(x.flip(-1))


class Scaled(nn.Linear):
    """A weight that is used otherwise beside."""

    def forward(self, x):
        return super().forward(x) * self.weight.norm()


class Alpha(nn.Linear):
    def forward(self, x):
        return torch.addmm(self.bias, x.flatten(0, -2), self.weight.t(), alpha=2).view(*x.shape[:-1], 96)


class Left(nn.Module):
    """W xᵀ: the weight is the first operand."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(96, WIDTH) / 9)

    def forward(self, x):
        return (self.weight @ x.flatten(0, -2).t()).t().view(*x.shape[:-1], 96)


class Checkpointed(nn.Linear):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


class Overwritten(nn.Linear):
    """The output is written into."""

    def forward(self, x):
        y = super().forward(x)
        y *= 3
        return y


def net(mixer, blocks=2):
    torch.manual_seed(0)
    return nn.Sequential(*[Block(mixer()) for _ in range(blocks)])


def found(model, batch, factored, loss="auto"):
    with undisturbed(model):
        with torch.no_grad():
            places = plan(trace(model, batch))
        weights = gradients(model, batch, places, loss, weights=True, factored=factored).weights
    return {name: gradient for (_, name), gradient in weights.items()}


def compared(model, batch, loss="auto"):
    """Which weights had factors; their product is the gradient that autograd forms."""
    formed, got = found(model, batch, False, loss), found(model, batch, True, loss)
    assert formed.keys() == got.keys()
    names = set()
    for name, gradient in got.items():
        dense = formed[name]
        if isinstance(gradient, tuple):
            names.add(name)
            left, right = (factor.float() for factor in gradient)
            product = left.mT @ right
            dense = dense if dense.shape == product.shape else dense.mT
            tolerance = 1e-6 if dense.dtype == torch.float32 else 2e-2
            torch.testing.assert_close(
                product, dense.float(), rtol=tolerance, atol=tolerance * float(dense.abs().max())
            )
        else:
            torch.testing.assert_close(gradient, dense)
    return names


LINEAR = {"0.mixer.weight", "1.mixer.weight"}
OUT = {"0.out.weight", "1.out.weight"}


@pytest.mark.parametrize(
    ("mixer", "expected"),
    [
        (lambda: nn.Linear(WIDTH, 96), LINEAR | OUT),
        (lambda: nn.Linear(WIDTH, 96, bias=False), LINEAR | OUT),
        (Conv1D, LINEAR | OUT),
        (lambda: Overwritten(WIDTH, 96), LINEAR | OUT),
        (lambda: Twice(WIDTH, 96), LINEAR | OUT),
        (lambda: Scaled(WIDTH, 96), OUT),
        (lambda: Alpha(WIDTH, 96), OUT),
        (Left, OUT),
        (lambda: Checkpointed(WIDTH, 96), set()),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, 96)), OUT),
    ],
    ids=["bias", "no_bias", "conv1d", "in_place", "twice", "beside", "alpha", "left", "checkpoint", "parametrised"],
)
def test_only_plain_products_have_factors_and_they_are_exact(mixer, expected):
    x = torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(1))
    assert compared(net(mixer), Batch((x,))) == expected


def test_many_tokens_make_the_product():
    assert compared(net(lambda: nn.Linear(WIDTH, 96)), Batch((torch.randn(2, 26, WIDTH),))) == LINEAR | OUT
    assert compared(net(lambda: nn.Linear(WIDTH, 96)), Batch((torch.randn(2, 27, WIDTH),))) == set()
    assert compared(net(lambda: Twice(WIDTH, 96)), Batch((torch.randn(2, 14, WIDTH),))) == OUT  # two uses a token


def test_a_weight_that_two_layers_share_has_the_factors_of_both():
    model = net(lambda: nn.Linear(WIDTH, 96))
    model[1].mixer.weight = model[0].mixer.weight
    model[1].out.weight = model[0].out.weight
    assert compared(model, Batch((torch.randn(2, 5, WIDTH),))) == {"0.mixer.weight", "0.out.weight"}


def test_a_weight_that_is_an_embedding_too_has_none():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.blocks = nn.Embedding(96, WIDTH), net(lambda: nn.Linear(WIDTH, 96))
            self.blocks[0].mixer.weight = self.embed.weight

        def forward(self, ids):
            return F.linear(self.blocks(self.embed(ids)), self.embed.weight)

    ids = torch.randint(0, 96, (2, 7))
    assert compared(Tied(), Batch((ids,))) == {"blocks.1.mixer.weight", *(f"blocks.{name}" for name in OUT)}


def test_frozen_weights_and_half_precision():
    frozen = net(lambda: nn.Linear(WIDTH, 96)).requires_grad_(False)
    assert compared(frozen, Batch((torch.randn(2, 7, WIDTH),))) == LINEAR | OUT
    assert not any(p.requires_grad for p in frozen.parameters())
    half = net(lambda: nn.Linear(WIDTH, 96)).bfloat16()
    assert compared(half, Batch((torch.randn(2, 7, WIDTH).bfloat16(),))) == LINEAR | OUT
    exact = net(lambda: nn.Linear(WIDTH, 96)).double()
    assert compared(exact, Batch((torch.randn(2, 7, WIDTH).double(),))) == set()


def test_tokens_without_gradient_are_left_out():
    x = torch.randn(2, 7, WIDTH)
    got = found(
        net(lambda: nn.Linear(WIDTH, 96)), Batch((x,)), True, lambda output, batch: output[:, :3].square().sum()
    )
    assert {len(factor) for pair in got.values() for factor in pair} == {6}
    nothing = found(net(lambda: nn.Linear(WIDTH, 96)), Batch((x,)), True, lambda output, batch: 0 * output.sum())
    assert {len(factor) for pair in nothing.values() for factor in pair} == {0}


def test_inputs_that_are_not_finite_are_kept():
    left, right = factors([torch.tensor([[1.0], [torch.nan], [2.0]])], [torch.zeros(3, 2)])
    assert len(left) == len(right) == 1
    assert factors([torch.ones(2, 2)], [None]) is None


def test_packing_is_seen_and_put_back():
    enter = torch.autograd.graph.saved_tensors_hooks.__enter__
    with watched_packing() as packed:
        assert not packed
        with torch.autograd.graph.save_on_cpu():
            pass
        assert packed
    assert torch.autograd.graph.saved_tensors_hooks.__enter__ is enter


def test_a_loss_without_a_graph():
    weight = nn.Parameter(torch.randn(80, 80))
    assert uses(torch.zeros(()), [weight]) == [None]
