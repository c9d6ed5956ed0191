"""Small models that take their inputs in different ways."""

from __future__ import annotations

import torch
from torch import nn

from rankscope.records import Source


def source(model: nn.Module, **fields: object) -> Source:
    return Source(model, "net", "python", **fields)  # type: ignore[arg-type]


class Ids(nn.Module):
    """Ids (batch, tokens) through an embedding; takes no mask."""

    def __init__(self, rows: int = 50, width: int = 16):
        super().__init__()
        self.embedding = nn.Embedding(rows, width)
        self.out = nn.Linear(width, width)

    def forward(self, ids):
        return self.out(self.embedding(ids))


class Masked(Ids):
    """Ids and an attention mask, as transformers models take them."""

    def forward(self, input_ids, attention_mask=None, **kwargs):
        x = self.embedding(input_ids)
        return self.out(x if attention_mask is None else x * attention_mask[..., None])


class Dropping(Ids):
    """Ids and a mask that is true at padding."""

    def forward(self, ids, src_key_padding_mask=None):
        x = self.embedding(ids)
        return self.out(x if src_key_padding_mask is None else x * ~src_key_padding_mask[..., None])


class Either(Ids):
    """Ids and a mask of a name that is used in both senses."""

    def forward(self, ids, mask=None):
        return self.out(self.embedding(ids))


class Positions(nn.Module):
    """A table of positions, registered before the embedding of the ids, bounds the length."""

    def __init__(self, longest: int = 40, rows: int = 70):
        super().__init__()
        self.positions = nn.Embedding(longest, 16)
        self.tokens = nn.Embedding(rows, 16)
        self.out = nn.Linear(16, 16)

    def forward(self, idx, targets=None):
        return self.out(self.tokens(idx) + self.positions(torch.arange(idx.shape[1])))


class Exchanged(nn.Module):
    """(batch, tokens, width) outside, (tokens, batch, width) inside."""

    def __init__(self):
        super().__init__()
        self.encoder = encoder(batch_first=False)

    def forward(self, x):
        return self.encoder(x.transpose(0, 1)).transpose(0, 1)


class TokensFirst(nn.Module):
    """Ids (tokens, batch), as in older tutorials."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.encoder = encoder(batch_first=False)

    def forward(self, ids):
        return self.encoder(self.embedding(ids))


class Attention(nn.Module):
    """Attention written by hand: linear maps are its only modules, yet its rows see each other."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x):
        return torch.softmax(self.q(x) @ self.k(x).transpose(-1, -2), -1) @ self.v(x)


class FixedLength(nn.Module):
    """Takes 197 tokens and no other number."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 197, 16))
        self.out = nn.Linear(16, 16)

    def forward(self, x):
        return self.out(x + self.positions)


class Residual(nn.Module):
    """A convolutional net for images."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.out = nn.Linear(8, 10)

    def forward(self, image):
        x = self.first(image)
        return self.out((x + self.second(x).relu()).mean((2, 3)))


class Series(nn.Module):
    """Takes (batch, time): one number a step."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(1, 8, 3, padding=1)

    def forward(self, series):
        return self.first(series.unsqueeze(1))


class Never(nn.Module):
    """Runs on nothing."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 4)

    def forward(self, x, graph):
        raise ValueError("the graph has no edges")


def encoder(*, batch_first: bool, width: int = 16) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, 2, 32, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(20, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))
