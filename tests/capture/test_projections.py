"""Values of blocks without an attention call, and calls that are not of the block's own stream."""

import pytest
import torch
from nets import ids
from torch import nn

from rankscope.capture.attention import CROSS, NO_ATTENTION, WINDOWS, arrange_values
from rankscope.capture.layout import Axes
from rankscope.capture.plan import plan
from rankscope.capture.session import forward, undisturbed
from rankscope.capture.trace import trace
from rankscope.records import Batch


def values_of(model, *args):
    """(layer name -> V_n of shape (batch, tokens, width)), and the plan."""
    batch, seen, where = Batch(args), {}, Axes(args[0].shape[0], None, None)

    def keep(place, value, mixed):
        arranged = arrange_values(value, place.repeated, where, args[0].shape[1])
        seen[place.layer.name] = arranged.transpose(1, 2).flatten(2).clone()

    with torch.no_grad(), undisturbed(model):
        plain = model(*args)
        found = plan(trace(model, batch))
        assert torch.equal(forward(model, batch, found, lambda place, tensor: None, keep), plain)
    return seen, found


class Mixer(nn.Module):
    """Linear attention: no softmax; `names` are those of its projections."""

    def __init__(self, names=("query", "key", "value"), tokens_first=False):
        super().__init__()
        self.names, self.tokens_first = names, tokens_first
        for name in names:
            self.add_module(name, nn.Linear(8, 8))

    def forward(self, x):
        h = x.transpose(0, 1) if self.tokens_first else x
        q, k, v = (getattr(self, name)(h) for name in self.names)
        q, k, v = (z.transpose(0, 1) if self.tokens_first else z for z in (q, k, v))
        return q.sigmoid() @ (k.sigmoid().transpose(1, 2) @ v)


class Channels(nn.Module):
    """A feed-forward whose second map is called value, as in RWKV."""

    def __init__(self):
        super().__init__()
        self.key, self.value = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        return self.value(torch.relu(self.key(x)) ** 2)


class Block(nn.Module):
    def __init__(self, mixer):
        super().__init__()
        self.attention, self.feed_forward = mixer, Channels()

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.feed_forward(x)


@pytest.mark.parametrize("tokens_first", [False, True])
def test_a_projection_named_so_gives_the_values_and_the_feed_forward_does_not(tokens_first):
    model, x = nn.Sequential(*[Block(Mixer(tokens_first=tokens_first)) for _ in range(2)]), torch.randn(3, 6, 8)
    entered = {}
    for name, block in model.named_children():
        block.register_forward_pre_hook(lambda m, a, name=name: entered.__setitem__(name, a[0]))
    seen, found = values_of(model, x)
    assert [place.how for place in found.values.values()] == ["output of attention.value"] * 2
    assert set(found.no_attention.values()) == {NO_ATTENTION}
    for name, block in model.named_children():
        torch.testing.assert_close(seen[name], block.attention.value(entered[name]))
    assert not any(m._forward_hooks for m in model.modules())


class Selective(nn.Module):
    """Mamba-1 in small: x_proj reads what enters the state-space model, y + D·x leaves it."""

    def __init__(self):
        super().__init__()
        self.in_proj, self.x_proj, self.out_proj = nn.Linear(8, 16), nn.Linear(16, 3), nn.Linear(16, 8)
        self.D = nn.Parameter(torch.rand(16))

    def forward(self, x):
        self.entered = u = torch.tanh(self.in_proj(x))
        step, b, c = self.x_proj(u).unbind(-1)
        y = torch.einsum("bi,bj,bjd->bid", c, b * step, u)
        return self.out_proj(y + self.D * u)


class Chunked(nn.Module):
    """Mamba-2 in small: heads, chunks filled up with zeros, a number D for each head."""

    def __init__(self, filled=8):
        super().__init__()
        self.in_proj, self.out_proj, self.filled = nn.Linear(8, 16), nn.Linear(16, 8), filled
        self.D = nn.Parameter(torch.rand(4) + 0.5)

    def forward(self, x):
        batch, tokens, _ = x.shape
        u = torch.tanh(self.in_proj(x)).view(batch, tokens, 4, 4)
        self.entered = u.flatten(2)
        u = nn.functional.pad(u, (0, 0, 0, 0, 0, self.filled - tokens))
        skip = self.D[..., None] * u
        y = torch.einsum("ij,bjhd->bihd", torch.ones(self.filled, self.filled).tril(), u)
        return self.out_proj((y + skip)[:, :tokens].flatten(2))


@pytest.mark.parametrize(("mixer", "how"), [(Selective, "input of x_proj"), (Chunked, "skip of y + D·x")])
def test_values_of_state_space_models_are_what_enters_them(mixer, how):
    torch.manual_seed(0)
    model = nn.Sequential(*[Block(mixer()) for _ in range(2)])
    seen, found = values_of(model, torch.randn(3, 6, 8))
    assert {place.how for place in found.values.values()} == {how}
    for name, block in model.named_children():
        assert torch.equal(seen[name], block.attention.entered)


def test_a_fused_projection_alone_is_named_in_the_reason():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.in_proj_qkv = nn.Linear(8, 24)

        def forward(self, x):
            q, k, v = self.in_proj_qkv(x).chunk(3, -1)
            return q.sigmoid() @ (k.sigmoid().transpose(1, 2) @ v)

    _, found = values_of(nn.Sequential(*[Block(Fused()) for _ in range(2)]), torch.randn(3, 6, 8))
    assert found.values == {}
    assert set(found.no_values.values()) == {f"{NO_ATTENTION}; in_proj_qkv gives its values together with others"}
    assert set(found.no_attention.values()) == {NO_ATTENTION}


def test_a_kernel_is_named_in_the_reason():
    class Opaque(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Linear(8, 8)

        def forward(self, x):
            return torch.ops.rankscope_test.mix(self.q(x))

    with torch.library._scoped_library("rankscope_test", "DEF") as library:
        library.define("mix(Tensor x) -> Tensor")
        library.impl("mix", lambda x: x.cumsum(1), "CompositeExplicitAutograd")
        _, found = values_of(nn.Sequential(*[Block(Opaque()) for _ in range(2)]), torch.randn(3, 6, 8))
    (reason,) = set(found.no_values.values())
    assert reason.startswith(NO_ATTENTION)
    assert reason.endswith("rankscope_test.mix is a kernel that cannot be looked into")


def test_layers_that_the_user_chose_have_only_what_runs_inside_them():
    model, x = nn.Sequential(*[Block(Twice()) for _ in range(2)]), torch.randn(2, 6, 8)
    with torch.no_grad(), undisturbed(model):
        watched = trace(model, Batch((x,)))
    assert plan(watched, ["*.feed_forward"]).values == {}
    assert len(plan(watched, ["*.attention"]).values) == 2


class Windowed(nn.Module):
    """Softmax attention in windows of 3 tokens; the projection runs over windows as well, or over the sequence."""

    def __init__(self, before):
        super().__init__()
        self.q, self.value, self.before = nn.Linear(8, 8), nn.Linear(8, 8), before

    def forward(self, x):
        b, t, d = x.shape
        cut = lambda z: z.reshape(b * t // 3, 3, d)  # noqa: E731 - as such code is written
        q, v = (cut(self.q(x)), cut(self.value(x))) if self.before else (self.q(cut(x)), self.value(cut(x)))
        return (torch.softmax(q @ q.transpose(1, 2), -1) @ v).reshape(b, t, d)


def test_windows_are_undefined_unless_the_projection_runs_over_the_sequence():
    x = torch.randn(2, 6, 8)
    seen, found = values_of(nn.Sequential(*[Block(Windowed(before=False)) for _ in range(2)]), x)
    assert seen == {}
    assert set(found.no_values.values()) == set(found.no_attention.values()) == {WINDOWS}
    model = nn.Sequential(*[Block(Windowed(before=True)) for _ in range(2)])
    seen, found = values_of(model, x)
    torch.testing.assert_close(seen["0"], model[0].attention.value(x))
    assert set(found.no_attention.values()) == {WINDOWS}


class Twice(nn.Module):
    """Two attention calls with halves of the values, as in differential attention."""

    def __init__(self):
        super().__init__()
        self.q_proj, self.v_proj = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        q = self.q_proj(x)
        halves = [nn.functional.scaled_dot_product_attention(q, q, v) for v in self.v_proj(x).chunk(2, -1)]
        return torch.cat(halves, -1)


def test_several_attention_calls_leave_the_projection_and_no_map():
    model, x = nn.Sequential(*[Block(Twice()) for _ in range(2)]), torch.randn(2, 6, 8)
    seen, found = values_of(model, x)
    torch.testing.assert_close(seen["0"], model[0].attention.v_proj(x))
    assert set(found.no_attention.values()) == {"2 attention calls in one block"}


def test_one_tensor_as_source_and_target_is_still_told_apart():
    model, x = nn.Transformer(16, 2, 2, 2, 32, batch_first=True), torch.randn(2, 6, 16)
    seen, found = values_of(model, x, x)
    assert sorted(seen) == [f"{stack}.layers.{k}" for stack in ("decoder", "encoder") for k in (0, 1)]
    kinds = {(place.layer.name, place.kind) for place in found.attention.values()}
    assert {(f"decoder.layers.{k}", kind) for k in (0, 1) for kind in ("self", "cross")} <= kinds
    assert found.no_values == found.no_attention == {}


class Reads(nn.Module):
    """Cross-attention only: latents read a memory."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x, memory):
        return x + self.attention(x, memory, memory)[0]


class Latents(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Reads() for _ in range(2))

    def forward(self, x, memory):
        for block in self.blocks:
            x = block(x, memory)
        return x


def test_a_block_that_only_reads_a_memory_has_no_values_of_its_own():
    seen, found = values_of(Latents(), torch.randn(2, 4, 8), torch.randn(2, 6, 8))
    assert seen == {}
    assert set(found.no_values.values()) == set(found.no_attention.values()) == {CROSS}
    assert {place.kind for place in found.attention.values()} == {"cross"}


@pytest.mark.parametrize("order", ["each in turn", "all in turn", "broadcast"])
def test_repeated_heads_are_taken_once_in_either_order(order):
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.contents = nn.Linear(8, 8), nn.Linear(8, 2 if order == "broadcast" else 4)

        def forward(self, x):
            b, t, _ = x.shape
            q, v = (z.view(b, t, -1, 2).transpose(1, 2) for z in (self.q(x), self.contents(x)))
            if order == "broadcast":
                v = v.expand(b, 4, t, 2)
            elif order == "each in turn":
                v = v[:, :, None].expand(b, 2, 2, t, 2).reshape(b, 4, t, 2)
            else:
                v = v[:, None].expand(b, 2, 2, t, 2).reshape(b, 4, t, 2)
            f = nn.functional.scaled_dot_product_attention(q, q, v)
            return f.transpose(1, 2).reshape(b, t, 8)

    model, x = nn.Sequential(*[Block(Grouped()) for _ in range(2)]), torch.randn(3, 6, 8)
    seen, _ = values_of(model, x)
    torch.testing.assert_close(seen["0"], model[0].attention.contents(x))


TINY = {"vocab_size": 11, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32, "num_attention_heads": 2}
CASES = {  # class -> (how values are seen, how maps are), a reason where they are not
    "Mamba": ("input of x_proj", NO_ATTENTION),
    "Mamba2": ("skip of y + D·x", NO_ATTENTION),
    "Rwkv": ("output of attention.value", NO_ATTENTION),
    "XLNet": ("softmax · einsum", "softmax · einsum"),
    "Longformer": ("output of attention.self.value", WINDOWS),
    "DiffLlama": ("output of self_attn.v_proj", "2 attention calls in one block"),
    "FNet": (NO_ATTENTION, NO_ATTENTION),
}
OWN = {
    "Mamba2": {"num_heads": 4, "head_dim": 8, "state_size": 4, "n_groups": 1, "chunk_size": 4},
    "XLNet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
    "Longformer": {"attention_window": 4, "pad_token_id": 0},
    "DiffLlama": {"num_attention_heads": 4, "num_key_value_heads": 2},
}


@pytest.mark.models
@pytest.mark.parametrize("name", CASES)
def test_values_and_maps_of_architectures(name):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = getattr(transformers, f"{name}Config")(**(TINY | OWN.get(name, {})))
    model = getattr(transformers, f"{name}Model")(config).eval()
    with torch.no_grad(), undisturbed(model):
        found = plan(trace(model, Batch((ids(2, 8),))))
    values = {place.how for place in found.values.values()} | set(found.no_values.values())
    maps = {place.how for place in found.attention.values()} | set(found.no_attention.values())
    assert (values, maps) == ({CASES[name][0]}, {CASES[name][1]})
