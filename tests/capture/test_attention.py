"""Values are those that the projections gave, however attention is written."""

import pytest
import torch
from nets import Attention, Stack, ids
from torch import nn

from rankscope.capture.attention import arrange_values
from rankscope.capture.layout import Axes, Unmeasurable
from rankscope.capture.plan import plan
from rankscope.capture.session import forward, undisturbed
from rankscope.capture.trace import trace
from rankscope.records import Batch


def values_of(model, batch):
    seen = {}
    with torch.no_grad(), undisturbed(model):
        found = plan(trace(model, batch))

        def keep(place, tensor, mixed):
            assert tensor is mixed
            values = arrange_values(tensor, place.repeated, where, None)
            seen[place.layer.index] = values.transpose(1, 2).flatten(2).clone()

        first = batch.args[0]
        where = Axes(first.shape[0], None, None)
        forward(model, batch, found, lambda place, tensor: None, keep)
    return seen


@pytest.mark.parametrize("eager", [True, False])
def test_values_equal_the_projection(eager):
    model, projected = Stack([Attention(16, eager=eager) for _ in range(3)]), {}
    for index, block in enumerate(model.blocks, 1):
        block.v.register_forward_hook(lambda m, a, out, index=index: projected.__setitem__(index, out))
    seen = values_of(model, Batch((ids(),)))
    assert seen.keys() == {1, 2, 3}
    assert all(torch.equal(seen[k], projected[k]) for k in seen)


class Block(nn.Module):
    def __init__(self, batch_first, need_weights):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=batch_first)
        self.need_weights, self.batch_first = need_weights, batch_first

    def forward(self, x):
        h = x if self.batch_first else x.transpose(0, 1)
        y = self.attention(h, h, h, need_weights=self.need_weights)[0]
        return x + (y if self.batch_first else y.transpose(0, 1))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_values_of_multihead_attention_equal_the_recomputed_ones(batch_first, need_weights):
    torch.manual_seed(0)
    model, expected = nn.Sequential(*[Block(batch_first, need_weights) for _ in range(2)]), {}
    for index, block in enumerate(model, 1):
        weight, bias = block.attention.in_proj_weight[32:], block.attention.in_proj_bias[32:]
        block.register_forward_pre_hook(
            lambda m, args, i=index, w=weight, b=bias: expected.__setitem__(i, nn.functional.linear(args[0], w, b))
        )
    seen = values_of(model, Batch((torch.randn(3, 7, 16),)))
    assert seen.keys() == {1, 2}
    for k in seen:
        torch.testing.assert_close(seen[k], expected[k])


def test_repeated_heads_are_taken_once():
    kv = torch.randn(2, 2, 7, 4)
    repeated = kv[:, :, None].expand(2, 2, 3, 7, 4).reshape(2, 6, 7, 4)
    once = arrange_values(repeated, torch.Size([2, 2, 1, 7, 4]), Axes(2, 7, None), 7)
    assert torch.equal(once, kv)


def test_other_tokens_than_the_blocks_are_refused():
    with pytest.raises(Unmeasurable, match="not those of the block"):
        arrange_values(torch.zeros(2, 4, 9, 8), None, Axes(2, 7, None), 7)
