"""Nets in which the residual stream is written in a way of its own; each takes (batch, tokens, 32)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

WIDTH = 32


def mlp(width: int = WIDTH) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Attention(nn.Module):
    """Attention by `scaled_dot_product_attention`, two heads; `linear` drops the softmax, so that no call is seen."""

    def __init__(self, linear: bool = False):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.linear = linear

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        y = (F.elu(q) + 1) @ ((F.elu(k) + 1).mT @ v) if self.linear else F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and MLP, one after the other."""

    def __init__(self, linear: bool = False):
        super().__init__()
        self.attention, self.norm, self.mlp = Attention(linear), nn.LayerNorm(WIDTH), mlp()

    def forward(self, x):
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class Parallel(Block):
    """Both branches read the same stream: the sum has one skip."""

    def forward(self, x):
        return x + self.attention(self.norm(x)) + self.mlp(x)


class InPlace(Block):
    """The skip is added to the branch in place."""

    def forward(self, x):
        y = self.attention(self.norm(x))
        y += x
        z = self.mlp(y)
        z += y
        return z


class Bare(Block):
    """No skip at all."""

    def forward(self, x):
        return self.mlp(self.attention(self.norm(x)))


class Highway(nn.Module):
    """(1 - t) x + t h."""

    def __init__(self):
        super().__init__()
        self.gate, self.mlp = nn.Linear(WIDTH, WIDTH), mlp()

    def forward(self, x):
        t = self.gate(x).sigmoid()
        return (1 - t) * x + t * self.mlp(x)


class Reversible(nn.Module):
    """Two halves, each added to with what the other gives."""

    def __init__(self):
        super().__init__()
        self.first, self.second = mlp(WIDTH // 2), mlp(WIDTH // 2)

    def forward(self, x):
        a, b = x.chunk(2, dim=-1)
        a = a + self.first(b)
        return torch.cat([a, b + self.second(a)], dim=-1)


class Adapted(nn.Linear):
    """W x + B A x: a sum that is no residual add."""

    def __init__(self):
        super().__init__(WIDTH, WIDTH)
        self.a, self.b = nn.Linear(WIDTH, 4, bias=False), nn.Linear(4, WIDTH, bias=False)

    def forward(self, x):
        return super().forward(x) + self.b(self.a(x))


class LowRank(Block):
    """Low-rank adapters on both branches."""

    def __init__(self):
        super().__init__()
        self.attention.out, self.mlp = Adapted(), nn.Sequential(nn.LayerNorm(WIDTH), Adapted(), nn.GELU(), Adapted())


class Mixer(nn.Module):
    """MLP-Mixer: one MLP over the tokens, one over the features."""

    def __init__(self, tokens: int = 16):
        super().__init__()
        self.tokens, self.features = mlp(tokens), mlp()

    def forward(self, x):
        x = x + self.tokens(x.mT).mT
        return x + self.features(x)


class Dense(nn.Module):
    """DenseNet: what a layer gives is joined to what it was given."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, 8, 3, padding=1)

    def forward(self, x):
        return torch.cat([x, self.conv(x).relu()], dim=1)


class Weighted(nn.Module):
    """nn.MultiheadAttention that is asked for its weights, in tokens-first layout."""

    def __init__(self):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(WIDTH), nn.MultiheadAttention(WIDTH, 4)
        self.mlp = mlp()

    def forward(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=True)[0]
        return x + self.mlp(x)


def stack(block: type[nn.Module], *args: object, depth: int = 3) -> nn.Module:
    """Blocks of one class, one after the other."""
    torch.manual_seed(0)
    return nn.Sequential(*(block(*args) for _ in range(depth))).eval()


def densenet() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *(Dense(8 * (1 + k)) for k in range(3))).eval()


class Tiny(nn.Module):
    """Token ids through three blocks."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(99, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, ids):
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return x


def tiny(seed: int = 0) -> Tiny:
    torch.manual_seed(seed)
    return Tiny().eval()


class UNet(nn.Module):
    """Two steps down and up again; the long skips are added to what comes up, or joined to it."""

    def __init__(self, how: str):
        super().__init__()
        self.joined = how == "concatenating"
        self.entry, self.exit = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 3, stride=2, padding=1) for _ in range(2))
        self.up = nn.ModuleList(nn.Conv2d(16 if self.joined else 8, 8, 3, padding=1) for _ in range(2))

    def forward(self, x):
        x, left = self.entry(x), []
        for conv in self.down:
            left.append(x)
            x = conv(x).relu()
        for conv in self.up:
            x = F.interpolate(x, scale_factor=2)
            x = conv(torch.cat([left.pop(), x], 1) if self.joined else left.pop() + x).relu()
        return self.exit(x)


def unet(how: str) -> UNet:
    torch.manual_seed(0)
    return UNet(how).eval()
