"""Attention maps are those with which the model mixes: its own call with identity values gives the same."""

import pytest
import torch
from nets import Attention, Stack, ids
from torch import nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from rankscope.capture.layout import Axes, Unmeasurable
from rankscope.capture.maps import arrange_maps, maps_of
from rankscope.capture.plan import plan
from rankscope.capture.session import forward, undisturbed
from rankscope.capture.trace import trace
from rankscope.records import Batch


def identity(q, k, **kwargs):
    """The slow twin: torch's own call with identity values, queries and keys repeated by hand."""
    eye = torch.eye(k.shape[-2], dtype=q.dtype).expand(*q.shape[:-2], -1, -1)
    return F.scaled_dot_product_attention(q, k.repeat_interleave(q.shape[1] // k.shape[1], 1), eye, **kwargs)


FLOAT_MASK = torch.randn(3, 1, 5, 7, generator=torch.Generator().manual_seed(0))
CALLS = {
    "plain": {},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.3},
    "boolean mask": {"attn_mask": torch.ones(5, 7, dtype=torch.bool).tril(2)},
    "mask of each sequence": {"attn_mask": torch.rand(3, 1, 5, 7, generator=torch.Generator().manual_seed(1)) > 0.3},
    "float mask": {"attn_mask": FLOAT_MASK},
    "minus infinity": {"attn_mask": torch.zeros(5, 7).masked_fill(torch.ones(5, 7).triu(1) > 0, -torch.inf)},
    "smallest number": {"attn_mask": torch.zeros(5, 7).masked_fill(torch.ones(5, 7).triu(1) > 0, -3.4028e38)},
}


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("name", CALLS)
def test_maps_of_scaled_dot_product_attention(name, kv_heads):
    torch.manual_seed(0)
    kwargs, (q, k) = CALLS[name], (torch.randn(3, 4, 5, 8), torch.randn(3, kv_heads, 7, 8))
    maps = maps_of("scaled_dot_product_attention", (q, k, k), kwargs | {"enable_gqa": kv_heads < 4})
    expected = identity(q, k, **kwargs)
    assert len(maps) == 3
    for index in range(3):
        weights, allowed = maps[index]
        torch.testing.assert_close(weights, expected[index], atol=1e-6, rtol=1e-5)
        assert torch.equal(allowed, (expected[index] > 0).any(0))
    with pytest.raises(IndexError):
        maps[3]


def test_half_precision_is_recomputed_in_float32_and_double_stays():
    q = torch.randn(1, 2, 5, 8)
    for dtype, wide in [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)]:
        weights, _ = maps_of("scaled_dot_product_attention", (q.to(dtype),) * 3, {})[0]
        assert weights.dtype == wide
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5, dtype=wide))


def test_a_row_that_may_see_nothing_is_zero():
    mask = torch.tensor([[False] * 3, [True] * 3])
    weights, allowed = maps_of(
        "scaled_dot_product_attention", (torch.randn(1, 1, 2, 4), *[torch.randn(1, 1, 3, 4)] * 2, mask), {}
    )[0]
    assert weights[0, 0].tolist() == [0.0] * 3
    assert allowed.tolist() == mask.tolist()


def maps_seen(model, batch, tokens=None):
    """(layer, kind) -> the map of every sequence, stacked; the output must be that of the model alone."""
    seen, where = {}, Axes(batch.args[0].shape[0], None, None)

    def keep(place, maps):
        arranged = arrange_maps(maps, where, tokens, place.kind)
        seen[place.layer.name, place.kind] = torch.stack([arranged[i][0] for i in range(len(arranged))])

    with torch.no_grad(), undisturbed(model):
        plain = model(*batch.args)
        found = plan(trace(model, batch))
        assert torch.equal(forward(model, batch, found, lambda place, tensor: None, None, keep), plain)
    return seen, found


def test_written_out_attention_shows_its_own_weights():
    eager, whole = (Stack([Attention(16, eager=e) for _ in range(2)]) for e in (True, False))
    whole.load_state_dict(eager.state_dict())
    (a, _), (b, _) = (maps_seen(model, Batch((ids(),)), 9) for model in (eager, whole))
    assert a.keys() == b.keys() == {("blocks.0", "self"), ("blocks.1", "self")}
    for key in a:
        assert a[key].shape == (2, 1, 9, 9)
        torch.testing.assert_close(a[key], b[key])


class Block(nn.Module):
    def __init__(self, need_weights):
        super().__init__()
        self.attention, self.need_weights = nn.MultiheadAttention(16, 4, batch_first=True), need_weights

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        y, self.weights = self.attention(
            x, x, x, need_weights=self.need_weights, average_attn_weights=False, attn_mask=mask
        )
        return x + y


@pytest.mark.parametrize("need_weights", [True, False])
def test_maps_of_multihead_attention_are_those_that_it_would_return(need_weights):
    torch.manual_seed(0)
    model, x = nn.Sequential(*[Block(need_weights) for _ in range(2)]), torch.randn(3, 7, 16)
    seen, _ = maps_seen(model, Batch((x,)), 7)
    for block in model:
        block.need_weights = True
    with torch.no_grad():
        model.eval()(x)
    for index, block in enumerate(model):
        torch.testing.assert_close(seen[str(index), "self"], block.weights)


class Flex(nn.Module):
    """Grouped queries, a bias that depends on the sequence, and a mask with padding."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(16, 32), nn.Linear(16, 16)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.inner(x).split([16, 8, 8], -1)
        q, k, v = (z.view(b, t, -1, 4).transpose(1, 2) for z in (q, k, v))
        lengths = torch.arange(t, t - b, -1)
        mask = create_block_mask(lambda b, h, i, j: (i >= j) & (j < lengths[b]), b, None, t, t, device="cpu")
        bias = lambda s, b, h, i, j: s + 0.1 * (b + 1) * (i - j)  # noqa: E731 - as such code is written
        self.seen = (q, k, lengths)
        return x + self.outer(flex_attention(q, k, v, bias, mask, enable_gqa=True).transpose(1, 2).reshape(b, t, 16))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_maps_of_flex_attention_hold_its_bias_and_its_mask():
    torch.manual_seed(0)
    model, (b, t) = nn.Sequential(Flex(), Flex()), (3, 8)
    seen, _ = maps_seen(model, Batch((torch.randn(b, t, 16),)), t)
    for index, block in enumerate(model):
        q, k, lengths = block.seen
        i, j = torch.arange(t)[:, None], torch.arange(t)
        for number in range(b):
            allowed = (i >= j) & (j < lengths[number])
            bias = (0.1 * (number + 1) * (i - j)).masked_fill(~allowed, -torch.inf)
            expected = identity(q[number : number + 1], k[number : number + 1], attn_mask=bias)[0]
            torch.testing.assert_close(seen[str(index), "self"][number], expected, atol=1e-6, rtol=1e-5)


def test_an_einsum_says_itself_which_axis_is_which():
    weights, values = torch.rand(2, 3, 5, 7), torch.randn(7, 2, 3, 4)
    maps = maps_of("einsum", ("bnij,jbnd->ibnd", weights, values), {})
    assert torch.equal(maps[1][0], weights[1])
    turned = maps_of("einsum", ("ijbn,jbnd->ibnd", weights.permute(2, 3, 0, 1), values), {})
    assert torch.equal(turned[1][0], weights[1])


def test_signed_weights_windows_and_heads_that_cannot_be_told_are_refused():
    signed = maps_of("matmul", (torch.tensor([[[[0.5, -0.5]]]]), torch.ones(1, 1, 2, 3)), {})
    with pytest.raises(Unmeasurable, match="signed"):
        signed[0]
    windows = maps_of("matmul", (torch.rand(8, 2, 4, 4), torch.rand(8, 2, 4, 3)), {})
    with pytest.raises(Unmeasurable, match="not those of the block"):
        arrange_maps(windows, Axes(2, 16, None), 16)
    joined = maps_of("bmm", (torch.rand(6, 4, 4), torch.rand(6, 4, 3)), {})
    with pytest.raises(Unmeasurable, match="which of them belong to one sequence"):
        len(joined)
    with pytest.raises(Unmeasurable):
        arrange_maps(joined, Axes(4, 4, None), 4)
    assert len(arrange_maps(joined, Axes(2, 4, None), 4)) == 2


def test_cross_attention_has_its_own_maps():
    torch.manual_seed(0)
    model = nn.Transformer(16, 2, 2, 2, 32, batch_first=True)
    seen, _ = maps_seen(model, Batch((torch.randn(2, 6, 16), torch.randn(2, 4, 16))))
    shapes = {key: tuple(weights.shape) for key, weights in seen.items()}
    assert shapes == {
        **{(f"encoder.layers.{k}", "self"): (2, 2, 6, 6) for k in (0, 1)},
        **{(f"decoder.layers.{k}", "self"): (2, 2, 4, 4) for k in (0, 1)},
        **{(f"decoder.layers.{k}", "cross"): (2, 2, 4, 6) for k in (0, 1)},
    }
