"""A net in whose code every edit is made by hand: `hand` holds the edits in force and their arguments, by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, HEADS, VOCAB = 16, 4, 11


class WrittenNorm(nn.Module):
    """RMSNorm written out, with a gain, as transformers write it."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(WIDTH) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class FunctionNorm(nn.Module):
    """A norm of torch's by its function, inside a module with a child."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.after = nn.Parameter(torch.rand(WIDTH) + 0.5), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(F.rms_norm(x, (WIDTH,), self.gain))


NORMS = {"module": nn.LayerNorm, "written": WrittenNorm, "function": FunctionNorm}


class Block(nn.Module):
    """Attention and MLP; `form` says how they are written."""

    def __init__(self, form: dict[str, Any]) -> None:
        super().__init__()
        self.form, self.hand = form, {}
        self.kv = form.get("kv", HEADS)
        kind = NORMS.get(form.get("norm", "module"), nn.LayerNorm)
        self.first_norm, self.second_norm = (kind(WIDTH) if kind is nn.LayerNorm else kind() for _ in range(2))
        size = WIDTH // HEADS * self.kv
        self.q, self.k, self.v = (nn.Linear(WIDTH, n) for n in (WIDTH, size, size))
        self.z, self.o = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.gate, self.down = nn.Linear(WIDTH, 32), nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)
        self.gain, self.shift = nn.Parameter(torch.rand(WIDTH) + 0.5), nn.Parameter(torch.randn(WIDTH))

    def normed(self, norm: nn.Module, x: Tensor) -> Tensor:
        if self.form.get("norm") == "inline":  # a LayerNorm in the middle of the code
            if "no_norm" in self.hand:
                return x
            centred = x - x.mean(-1, keepdim=True)
            return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-6) * self.gain + self.shift
        return x if "no_norm" in self.hand else norm(x)

    def forward(self, x: Tensor, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
        given = x
        post = self.form.get("post", False)
        a, values = self.attention(x if post else self.normed(self.first_norm, x), first)
        if self.form.get("parallel"):
            m = self.mlp(self.normed(self.second_norm, x))
            x = x + (self.kept("no_attention", a) + self.kept("no_mlp", m))
        else:
            x = x + self.kept("no_attention", a)
            x = self.normed(self.first_norm, x) if post else x
            m = self.kept("no_mlp", self.mlp(x if post else self.normed(self.second_norm, x)))
            if self.form.get("inplace"):
                m += x
                x = m
            else:
                x = x + m
            x = self.normed(self.second_norm, x) if post else x
        if "drop" in self.hand:
            x = given
        return x * self.hand.get("scale", 1), values

    def kept(self, name: str, branch: Tensor) -> Tensor:
        return torch.zeros_like(branch) if name in self.hand else branch

    def mlp(self, x: Tensor) -> Tensor:
        h = F.silu(self.gate(x)) * self.up(x) if self.form.get("glu") else F.gelu(self.up(x))
        return self.down(h)

    def attention(self, x: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        b, t, _ = x.shape
        heads = lambda y, n: y.view(b, t, n, -1).transpose(1, 2)  # noqa: E731 - as such code is written
        q, k, own = heads(self.q(x), HEADS), heads(self.k(x), self.kv), heads(self.v(x), self.kv)
        v = own
        if first is not None and "value_residual" in self.hand:
            one, two = self.hand["value_residual"]
            v = one * first + two * own
        if first is not None and "svformer" in self.hand:
            v = first
        y = self.attend(q, k, v)
        if first is not None and "neutreno" in self.hand:
            y = y + self.hand["neutreno"] * (first - own).repeat_interleave(HEADS // self.kv, 1)
        y = y.transpose(1, 2).reshape(b, t, WIDTH)
        if self.form.get("gated") and "no_gate" not in self.hand:
            y = y * F.silu(self.z(x))
        return self.o(y), own

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        form = self.form.get("attention", "sdpa")
        if form == "grouped":
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        if self.kv != HEADS:
            k, v = (y.repeat_interleave(HEADS // self.kv, 1) for y in (k, v))
        if form == "sdpa":
            return F.scaled_dot_product_attention(q, k, v)
        weights = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, -1)
        if form == "einsum":
            return torch.einsum("bhqk,bkhd->bqhd", weights, v.transpose(1, 2)).transpose(1, 2)
        return weights @ v


class Net(nn.Module):
    """Ids to logits; the values of the first block are given to the later ones."""

    def __init__(self, depth: int = 3, **form: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB)
        self.blocks = nn.ModuleList(Block(form) for _ in range(depth))
        self.wrap = lambda block, *given: block(*given)
        self.eval()

    def forward(self, ids: Tensor) -> Tensor:
        x, first = self.embed(ids), None
        for block in self.blocks:
            x, values = self.wrap(block, x, first)
            first = values if first is None else first
        return self.head(x)

    def by_hand(self, **changes: Any) -> Net:
        """The changes are made in every block, or in those of a pair (argument, numbers of the blocks from 1)."""
        for number, block in enumerate(self.blocks, 1):
            block.hand = {name: value for name, (value, where) in changes.items() if not where or number in where}
        return self


def ids(batch: int = 2, tokens: int = 9) -> Tensor:
    return torch.randint(0, VOCAB, (batch, tokens), generator=torch.Generator().manual_seed(0))
