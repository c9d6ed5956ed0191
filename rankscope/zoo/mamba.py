"""Mamba: a selective state space for every feature, behind a convolution and a gate; in plain torch, token by token."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from rankscope.zoo import architecture
from rankscope.zoo._parts import Network, Sublayer, check_sizes
from rankscope.zoo._selective import scan, start_steps

EXPAND, KERNEL, EPS = 2, 4, 1e-5


class MambaMixer(nn.Module):
    """The block of arXiv 2312.00752, Fig. 3; its weights have the names of those of transformers.

    Args:
        width: features of a token; twice as many inside.
        state: size of the state of an inner feature.
        gate: whether what leaves the state space is multiplied by a gate.
    """

    def __init__(self, width: int, state: int, *, gate: bool) -> None:
        super().__init__()
        inner, rank = EXPAND * width, math.ceil(width / 16)
        self.gate = gate
        self.in_proj = nn.Linear(width, (2 if gate else 1) * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, KERNEL, groups=inner, padding=KERNEL - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.empty(inner, state).copy_(torch.arange(1.0, state + 1).log()))
        self.D = nn.Parameter(torch.empty(inner).fill_(1))
        self.out_proj = nn.Linear(inner, width, bias=False)
        with torch.no_grad():
            self.dt_proj.bias.copy_(start_steps(inner))

    def forward(self, x: Tensor) -> Tensor:
        """Mix.

        Args:
            x: (batch, tokens, width).

        Returns:
            The same shape.
        """
        inner, state = self.A_log.shape
        u, *gates = self.in_proj(x).split(inner, dim=-1)  # (batch, tokens, inner)
        u = F.silu(self.conv1d(u.mT)[..., : x.shape[1]]).mT
        low, b, c = self.x_proj(u).split([self.dt_proj.in_features, state, state], dim=-1)
        y = scan(u[..., None], F.softplus(self.dt_proj(low)), -self.A_log.exp(), b, c)[..., 0] + self.D * u
        out: Tensor = self.out_proj(y * F.silu(gates[0]) if gates else y)
        return out


class Mamba(Network):
    """Mamba mixers, each with its RMSNorm and its skip."""


@architecture(
    paper="Gu and Dao 2023, arXiv 2312.00752",
    claim="None of the paper's own; selective SSMs without skip collapse (arXiv 2410.10609); at random weights, "
    "with gate=off,skip=off, its tokens only come nearer",
)
def mamba(
    *,
    depth: int = 6,
    width: int = 64,
    state: int = 16,
    vocab: int = 256,
    norm: bool = True,
    gate: bool = True,
    skip: bool = True,
    head: Literal["lm", "classifier"] = "lm",
    classes: int = 10,
) -> Mamba:
    """Mamba: RMSNorm, projection, convolution, selective state space with an A for every feature, gate, skip.

    Args:
        depth: blocks.
        width: features of a token; twice as many inside a block.
        state: size of the state of an inner feature.
        vocab: number of ids; 256 for bytes.
        norm: RMSNorm before every mixer and before the head.
        gate: whether what leaves the state space is multiplied by a gate.
        skip: whether the input of a mixer is added to its output.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Example:
        >>> mamba(depth=2, gate=False).blocks[0].mixer.in_proj.out_features
        128
    """
    check_sizes("mamba", {"depth": depth, "width": width, "state": state, "vocab": vocab, "classes": classes})
    norms = [nn.RMSNorm(width, eps=EPS) if norm else nn.Identity() for _ in range(depth + 1)]
    blocks = [Sublayer(MambaMixer(width, state, gate=gate), norms[k], pre=True, skip=skip) for k in range(depth)]
    return Mamba(blocks, width=width, vocab=vocab, head=head, classes=classes, last_norm=norms[depth])
