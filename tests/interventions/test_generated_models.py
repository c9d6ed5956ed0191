"""Model classes made inside the test, edited exactly as by hand; and models inside torch's wrappers."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F

import rankscope

PRE = """
def forward(self, hidden):
    batch, tokens, width = hidden.shape
    stream = hidden.clone(){mixed}
    stream += self.mix(self.first(hidden))
    flat = stream.reshape(-1, width)
    flat = {skip}flat + self.down(F.gelu(self.up(self.second(flat))))
    return flat.view(batch, tokens, width)
"""
POST = """
def forward(self, hidden):
    batch, tokens, width = hidden.shape
    flat = hidden.reshape(-1, width)
    mixed = self.mix(hidden).reshape(-1, width)
    mixed += {skip}flat
    flat = self.first(mixed)
    out = self.down(F.gelu(self.up(flat)))
    out = out.add({skip}flat)
    return self.second(out).view(batch, tokens, width)
"""


def made(text, lam=None):
    """A class whose blocks are written as `text`, with λ in it where one is given."""
    scope = {"F": F, "LAM": lam}
    mixed = "" if lam is None else "\n    stream *= LAM"
    exec(text.format(mixed=mixed, skip="" if lam is None else "LAM * "), scope)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(24, 72), nn.Linear(24, 24)
            self.first, self.second = nn.LayerNorm(24), nn.LayerNorm(24)
            self.up, self.down = nn.Linear(24, 48), nn.Linear(48, 24)

        def mix(self, x):
            q, k, v = self.qkv(x).unflatten(-1, (3, 3, 8)).permute(2, 0, 3, 1, 4)
            return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))

        forward = scope["forward"]

    class Generated(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.tokens, self.layers = nn.Embedding(50, 24), nn.ModuleList(Block() for _ in range(4))

        def forward(self, ids):
            x = self.tokens(ids)
            for layer in self.layers:
                x = layer(x)
            return x

    return Generated()


def ids(batch=3, tokens=11):
    return torch.randint(0, 50, (batch, tokens), generator=torch.Generator().manual_seed(1))


def backward(model):
    output = model(ids())
    output.square().sum().backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    return output.detach(), found


@pytest.mark.parametrize("lam", [0.5, -2.0, 10.0])
@pytest.mark.parametrize("text", [pytest.param(PRE, id="pre-norm"), pytest.param(POST, id="post-norm")])
def test_generated_classes_are_edited_as_by_hand(text, lam):
    model, hand = made(text), made(text, lam)
    plain = backward(model)
    with rankscope.edit(model, f"lambda_skip={lam}", ids(1, 6)) as told:
        output, gradients = backward(model)
    assert told == (f"lambda_skip={lam:g}: 8 residual adds in 4 layers",)
    expected, own = backward(hand)
    assert (output - expected).norm() < 1e-5 * expected.norm()
    assert all((a - b).norm() <= 1e-5 * b.norm() for a, b in zip(gradients, own, strict=True))
    with rankscope.edit(model, "lambda_skip=1", ids()):
        output, gradients = backward(model)
    assert torch.equal(output, plain[0])
    assert all(torch.equal(a, b) for a, b in zip(gradients, plain[1], strict=True))


@pytest.mark.parametrize("text", [pytest.param(PRE, id="pre-norm"), pytest.param(POST, id="post-norm")])
def test_a_layer_of_a_generated_class(text):
    model, hand = made(text), made(text)
    hand.layers[2] = made(text, 3.0).layers[2]
    hand.layers[2].load_state_dict(model.layers[2].state_dict())
    with torch.no_grad(), rankscope.edit(model, "lambda_skip=3@'layers.2'", ids()) as told:
        assert torch.allclose(model(ids()), hand(ids()), atol=1e-5)
    assert told == ("lambda_skip=3@layers.2: 2 residual adds in 1 layer",)


@pytest.fixture
def process():
    """One process of gloo."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")  # of a block that returns a view
@pytest.mark.parametrize("how", ["DDP", "FSDP2", "DataParallel"])
def test_wrapped_models(how, process):
    model, hand = made(PRE), made(PRE, 2.0)
    expected, own = backward(hand)
    if how == "DDP":
        model = nn.parallel.DistributedDataParallel(model)
    elif how == "DataParallel":
        model = nn.DataParallel(model)
    else:
        mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
        for layer in model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    with rankscope.edit(model, "lambda_skip=2", ids()):
        output = model(ids())
        output.square().sum().backward()
    found = [p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad for p in model.parameters()]
    assert torch.allclose(output, expected, atol=1e-5)
    assert all((a - b).norm() <= 1e-5 * b.norm() for a, b in zip(found, own, strict=True))
