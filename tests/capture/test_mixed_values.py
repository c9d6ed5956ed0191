"""Values mixed with those of earlier layers: V_n and V'_n are both seen, however the mix is written."""

import pytest
import torch
from nets import ids
from torch import nn
from torch.nn import functional as F

from rankscope.capture.attention import NO_ATTENTION, UNTOLD, arrange_values
from rankscope.capture.layout import Axes
from rankscope.capture.plan import plan
from rankscope.capture.session import forward, undisturbed
from rankscope.capture.trace import trace
from rankscope.records import Batch

HEADS, WIDTH = 2, 8
FORMS = {  # (values of this layer, of the first, of all before, learned scale) -> values that attention gets
    "sum": lambda v, first, before, scale: 0.5 * v + 0.5 * first,
    "first term first": lambda v, first, before, scale: 2 * first + v,
    "in place": lambda v, first, before, scale: v.mul(0.5).add_(first),
    "learned": lambda v, first, before, scale: scale[0] * v + scale[1] * first,
    "sigmoid": lambda v, first, before, scale: scale[0].sigmoid() * v + (1 - scale[0].sigmoid()) * first,
    "lerp": lambda v, first, before, scale: first.lerp(v, 0.3),
    "lerp, other way": lambda v, first, before, scale: torch.lerp(v, first, 0.3),
    "addcmul": lambda v, first, before, scale: torch.addcmul(v, first, torch.full_like(first, 0.2)),
    "add with alpha": lambda v, first, before, scale: torch.add(v, first, alpha=0.5),
    "dense": lambda v, first, before, scale: sum(0.3 * past for past in before) + 0.4 * v,
    "dense, own first": lambda v, first, before, scale: v + sum(0.3 * past for past in before),
    "dense, one by one": lambda v, first, before, scale: sum([0.5 * v, *(0.1 * past for past in before)]),
    "scaled after": lambda v, first, before, scale: 0.5 * (v + first),
}


class Block(nn.Module):
    """Pre-norm attention; `layout` says where the values are mixed: before heads are split, after, or transposed."""

    def __init__(self, form, layout):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.query, self.keys, self.contents = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.outer, self.scale = nn.Linear(WIDTH, WIDTH), nn.Parameter(torch.tensor([0.7, 0.2]))
        self.form, self.layout = form, layout

    def forward(self, x, before):
        h = self.norm(x)
        b, t, _ = x.shape
        q, k, v = self.query(h), self.keys(h), self.contents(h)
        heads = lambda z: z.view(b, t, HEADS, WIDTH // HEADS)  # noqa: E731 - as such code is written
        q, k = heads(q).transpose(1, 2), heads(k).transpose(1, 2)
        v = {"width": v, "tokens": heads(v), "heads": heads(v).transpose(1, 2)}[self.layout]
        mixed = FORMS[self.form](v, before[0], before, self.scale) if before else v
        seen = {
            "width": lambda z: heads(z).transpose(1, 2),
            "tokens": lambda z: z.transpose(1, 2),
            "heads": lambda z: z,
        }[self.layout]
        f = F.scaled_dot_product_attention(q, k, seen(mixed))
        return x + self.outer(f.transpose(1, 2).reshape(b, t, WIDTH)), v


class Net(nn.Module):
    def __init__(self, form, layout="heads", depth=3):
        super().__init__()
        self.embed = nn.Embedding(11, WIDTH)
        self.blocks = nn.ModuleList(Block(form, layout) for _ in range(depth))

    def forward(self, x):
        x, before = self.embed(x), []
        for block in self.blocks:
            x, v = block(x, before)
            before.append(v)
        return x


def observed(model, batch):
    """V_n and V'_n by layer, (batch, tokens, width)."""
    seen, where = {}, Axes(batch.args[0].shape[0], None, None)

    def keep(place, value, mixed):
        arranged = [arrange_values(x, place.repeated, where, None).transpose(1, 2).flatten(2) for x in (value, mixed)]
        seen[place.layer.index] = (*(x.clone() for x in arranged), value is mixed)

    with torch.no_grad(), undisturbed(model):
        plain = model(*batch.args)
        found = plan(trace(model, batch))
        watched = forward(model, batch, found, lambda place, tensor: None, keep)
    assert torch.equal(plain, watched)
    return seen, found


def projected(model):
    """What the value projections give, by layer, filled in by the next forward pass."""
    own = {}
    for index, block in enumerate(model.blocks, 1):
        block.contents.register_forward_hook(lambda m, a, out, index=index: own.__setitem__(index, out))
    return own


@pytest.mark.parametrize("layout", ["width", "tokens", "heads"])
@pytest.mark.parametrize("form", FORMS)
def test_both_values_are_seen_however_the_mix_is_written(form, layout):
    torch.manual_seed(0)
    model = Net(form, layout).eval()
    own = projected(model)
    seen, found = observed(model, Batch((ids(),)))
    assert found.no_values == {}
    assert [same for _, _, same in seen.values()] == [True, False, False]
    for index, (value, mixed, _) in seen.items():
        torch.testing.assert_close(value, own[index], msg=f"V_{index}")
        before = [own[k] for k in range(1, index)]
        expected = FORMS[form](own[index], own[1], before, model.blocks[0].scale) if before else own[index]
        torch.testing.assert_close(mixed, expected, msg=f"V'_{index}")


def test_as_many_tokens_as_heads_are_not_mistaken_for_each_other():
    model = Net("sum", "tokens").eval()
    own = projected(model)
    seen, _ = observed(model, Batch((ids(2, HEADS),)))
    for index, (value, _, _) in seen.items():
        torch.testing.assert_close(value, own[index])


def test_a_mix_that_cannot_be_taken_apart_is_undefined(monkeypatch):
    monkeypatch.setitem(FORMS, "stacked", lambda v, first, before, scale: torch.stack([v, first]).mean(0))
    _, found = observed(Net("stacked").eval(), Batch((ids(),)))
    assert set(found.no_values.values()) == {UNTOLD}
    assert len(found.no_values) == 2
    assert len(found.attention) == 3


class SharedKeys(Block):
    """Keys and values both of the first layer: the cache of one layer serves all."""

    def forward(self, x, before):
        h, (b, t, _) = self.norm(x), x.shape
        q, k, v = (m(h).view(b, t, HEADS, -1).transpose(1, 2) for m in (self.query, self.keys, self.contents))
        k, v = before[0] if before else (k, v)
        f = F.scaled_dot_product_attention(q, k, v)
        return x + self.outer(f.transpose(1, 2).reshape(b, t, WIDTH)), (k, v)


class Only(Block):
    """SVFormer: from the second layer on the values are those of the first."""

    def forward(self, x, before):
        h, (b, t, _) = self.norm(x), x.shape
        q, k = (m(h).view(b, t, HEADS, -1).transpose(1, 2) for m in (self.query, self.keys))
        v = before[0] if before else self.contents(h).view(b, t, HEADS, -1).transpose(1, 2)
        f = F.scaled_dot_product_attention(q, k, v)
        return x + self.outer(f.transpose(1, 2).reshape(b, t, WIDTH)), v


def net_of(block):
    model = Net("sum")
    model.blocks = nn.ModuleList(block("sum", "heads") for _ in range(3))
    return model.eval()


def test_values_of_the_first_layer_taken_as_they_are():
    model = net_of(Only)
    seen, found = observed(model, Batch((ids(),)))
    assert found.no_values == {}
    assert [place.kind for place in found.attention.values()] == ["self"] * 3
    for value, mixed, same in seen.values():
        assert same
        assert torch.equal(value, seen[1][0])
        assert torch.equal(mixed, value)


def test_keys_and_values_of_an_earlier_layer_are_not_the_layers_own():
    _, found = observed(net_of(SharedKeys), Batch((ids(),)))
    assert found.no_values == {("blocks.*", k): "its keys and values are those of an earlier layer" for k in (2, 3)}
    assert [place.kind for place in found.attention.values()] == ["self"] * 3
    assert NO_ATTENTION not in found.no_attention.values()


@pytest.mark.models
@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("flash", [True, False])
def test_value_residual_of_x_transformers(learned, flash):
    x_transformers = pytest.importorskip("x_transformers", reason="x-transformers is not installed")
    torch.manual_seed(0)
    layers = x_transformers.Decoder(
        dim=16,
        depth=3,
        heads=2,
        attn_dim_head=8,
        attn_flash=flash,
        add_value_residual=True,
        learned_value_residual_mix=learned,
    )
    model, own = x_transformers.TransformerWrapper(num_tokens=11, max_seq_len=16, attn_layers=layers).eval(), []
    for name, module in model.named_modules():
        if name.endswith("to_v"):
            module.register_forward_hook(lambda m, a, out: own.append(out))
    seen, _ = observed(model, Batch((ids(),)))
    assert [same for _, _, same in seen.values()] == [True, False, False]
    for (value, mixed, same), projection in zip(seen.values(), own[-3:], strict=True):
        torch.testing.assert_close(value, projection)
        if not same and not learned:
            torch.testing.assert_close(mixed, 0.5 * own[-3] + 0.5 * projection)
