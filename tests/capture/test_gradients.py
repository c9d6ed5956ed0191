"""Gradients equal those of autograd by hand, and touch nothing."""

import pytest
import torch
from nets import Attention, PreNorm, Shared, Stack, ids
from torch import nn

from rankscope.capture.gradients import gradients
from rankscope.capture.losses import loss_of
from rankscope.capture.plan import plan
from rankscope.capture.session import undisturbed
from rankscope.capture.trace import trace
from rankscope.errors import UsageError
from rankscope.records import Batch


def run(model, batch, loss="auto", weights=True):
    with undisturbed(model):
        with torch.no_grad():
            found = plan(trace(model, batch))
        return gradients(model, batch, found, loss, weights=weights)


def by_name(found):
    return {place.layer.name: gradient for place, gradient in found.activations.items()}


class Halved(Stack):
    """Writes into what each block gave, after the block."""

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
            x.mul_(0.5)
        return self.head(x)


@pytest.mark.parametrize("kind", [Stack, Halved])
def test_they_equal_autograd_by_hand_also_where_the_model_writes_in_place(kind):
    torch.manual_seed(0)
    model = kind([PreNorm(16) for _ in range(3)])
    found = run(model, Batch((ids(),)))
    assert found.loss == "lm"
    hidden, x = [model.embed(ids())], None
    for block in model.blocks:
        hidden.append(block(hidden[-1] if x is None else x))
        x = hidden[-1] * (0.5 if kind is Halved else 1.0)
    logits = model.head(x)
    loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids()[:, 1:].flatten())
    expected = torch.autograd.grad(loss, [*hidden, model.blocks[1].inner.weight])
    for got, want in zip(by_name(found).values(), expected[:-1], strict=True):
        torch.testing.assert_close(got, want)
    weight = next(g for (place, name), g in found.weights.items() if name == "blocks.1.inner.weight")
    torch.testing.assert_close(weight, expected[-1])


def test_nothing_is_left_behind_and_frozen_parameters_stay_frozen():
    model = Stack([PreNorm(16) for _ in range(2)])
    model.embed.requires_grad_(False)
    model.blocks[0].requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    found = run(model, Batch((ids(),)))
    assert all(g is not None for g in by_name(found).values())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())


def test_the_input_of_a_model_without_embedding_has_a_gradient():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    found = run(nn.TransformerEncoder(layer, 2), Batch((torch.randn(2, 6, 16),)))
    assert found.loss == "cotangent"
    assert by_name(found)["layers.0.input"].abs().sum() > 0


def test_the_weights_of_a_block_called_often_appear_once():
    found = run(Shared(Attention(16), 4), Batch((ids(),)))
    assert len(found.weights) == len({name for _, name in found.weights})
    assert len(by_name(found)) == 5


def test_the_cotangent_is_the_same_for_padded_and_unpadded_sequences():
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))
    padded = torch.cat([x, torch.randn(2, 3, 4)], 1)
    keep = {"mask": torch.arange(8).expand(2, 8) < 5}
    net = nn.Identity()
    a, _ = loss_of("cotangent", net, x, Batch((x,)))
    b, _ = loss_of("cotangent", net, padded, Batch((padded,), keep=keep))
    torch.testing.assert_close(a, b)


def test_losses_that_do_not_fit_are_usage_errors():
    x = torch.randn(2, 5, 4)
    with pytest.raises(UsageError, match="RS111"):
        loss_of("lm", nn.Identity(), x, Batch((x,)))
    with pytest.raises(UsageError, match="RS112"):
        loss_of("ce", nn.Identity(), x, Batch((x,)))
    target = torch.zeros(2, 5, dtype=torch.long)
    loss, name = loss_of("ce", nn.Identity(), x, Batch((x,), {"labels": target}))
    assert name == "ce"
    torch.testing.assert_close(loss, nn.functional.cross_entropy(x.flatten(0, 1), target.flatten()))
    assert loss_of("mse", nn.Identity(), x, Batch((x,), {"y": x}))[0] == 0


def test_the_models_own_loss_comes_first():
    class Own(nn.Module):
        def forward(self, x):
            return {"loss": (x**2).sum(), "logits": x}

    x = torch.randn(2, 5, 4, requires_grad=True)
    assert loss_of("auto", Own(), Own()(x), Batch((x,)))[1] == "the model's own"
