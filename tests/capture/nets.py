"""Small nets with known answers, one for each way to write a stack."""

import torch
from torch import nn
from torch.nn import functional as F


class PreNorm(nn.Module):
    def __init__(self, width, inplace=False):
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.inplace = inplace

    def forward(self, x):
        f = self.outer(torch.relu(self.inner(self.norm(x))))
        if self.inplace:
            x += f
            return x
        return x + f


class Masked(nn.Module):
    """An encoder over ids with a padding mask, as transformers write it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.embed = nn.Embedding(11, 16)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(self, input_ids, attention_mask=None):
        drop = None if attention_mask is None else attention_mask == 0
        return self.encoder(self.embed(input_ids), src_key_padding_mask=drop)


class Attention(nn.Module):
    """One head, pre-norm; `eager` writes attention out as softmax(scores) @ values."""

    def __init__(self, width, eager=False, output="tensor", skip=True):
        super().__init__()
        self.norm, self.q, self.k, self.v = nn.LayerNorm(width), *(nn.Linear(width, width) for _ in range(3))
        self.eager, self.output, self.skip = eager, output, skip

    def forward(self, x, mask=None):
        h = self.norm(x)
        q, k, v = self.q(h), self.k(h), self.v(h)
        if self.eager:
            f = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1) @ v
        else:
            f = F.scaled_dot_product_attention(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1)).squeeze(1)
        y = x + f if self.skip else f
        return {"tensor": y, "tuple": (y, f), "dict": {"hidden": y, "weights": None}}[self.output]


class Stack(nn.Module):
    """Token ids through numbered blocks to logits."""

    def __init__(self, blocks, width=16, vocab=11):
        super().__init__()
        self.embed, self.blocks, self.head = nn.Embedding(vocab, width), nn.ModuleList(blocks), nn.Linear(width, vocab)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
            x = x[0] if isinstance(x, tuple) else x["hidden"] if isinstance(x, dict) else x
        return self.head(x)


class Shared(Stack):
    """One block called several times."""

    def __init__(self, block, times, width=16):
        super().__init__([block], width)
        self.times = times

    def forward(self, ids):
        x = self.embed(ids)
        for _ in range(self.times):
            x = self.blocks[0](x)
        return self.head(x)


class Experts(nn.Module):
    """Experts that run side by side are no stack; the blocks that hold them are."""

    def __init__(self, width):
        super().__init__()
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(3))

    def forward(self, x):
        return x + sum(expert(x) for expert in self.experts[:2])


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)))


def cnn():
    blocks = [Residual(8) for _ in range(3)]
    return nn.Sequential(nn.Conv2d(3, 8, 3), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def ids(batch=2, tokens=9, vocab=11):
    return torch.randint(0, vocab, (batch, tokens), generator=torch.Generator().manual_seed(0))
