"""Mamba-2: selective state spaces with a number for A in every head, in chunks of tokens; in plain torch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from rankscope.zoo import architecture
from rankscope.zoo._parts import Network, Sublayer, check_sizes
from rankscope.zoo._selective import chunked, start_steps

EXPAND, KERNEL, EPS = 2, 4, 1e-5


class Mamba2Mixer(nn.Module):
    """The block of arXiv 2405.21060, Fig. 6, one group; its weights have the names of those of transformers.

    Args:
        width: features of a token; twice as many inside.
        heads: of the inner features.
        state: size of the state of an inner feature.
        norm: whether what leaves the state space is normalised, after the gate.
        gate: whether it is multiplied by a gate.
    """

    def __init__(self, width: int, heads: int, state: int, *, norm: bool, gate: bool) -> None:
        super().__init__()
        inner = EXPAND * width
        both = inner + 2 * state  # what is convolved: x, B and C
        self.heads, self.gate = heads, gate
        self.in_proj = nn.Linear(width, (inner if gate else 0) + both + heads, bias=False)
        self.conv1d = nn.Conv1d(both, both, KERNEL, groups=both, padding=KERNEL - 1)
        self.dt_bias = nn.Parameter(start_steps(heads))
        self.A_log = nn.Parameter(torch.arange(1.0, heads + 1).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = nn.RMSNorm(inner, eps=EPS) if norm else nn.Identity()
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix.

        Args:
            x: (batch, tokens, width).

        Returns:
            The same shape.
        """
        inner, both = self.out_proj.in_features, self.conv1d.in_channels
        sizes = [inner, both, self.heads] if self.gate else [both, self.heads]
        *gates, convolved, step = self.in_proj(x).split(sizes, dim=-1)
        convolved = F.silu(self.conv1d(convolved.mT)[..., : x.shape[1]]).mT
        state = (both - inner) // 2
        u, b, c = torch.split(convolved, [inner, state, state], dim=-1)
        u = u.reshape(*x.shape[:2], self.heads, -1)  # (batch, tokens, heads, inner / heads)
        y = chunked(u, F.softplus(step + self.dt_bias), -self.A_log.exp()[:, None], b, c)
        y = (y + self.D[:, None] * u).flatten(-2)  # (batch, tokens, inner)
        out: Tensor = self.out_proj(self.norm(y * F.silu(gates[0]) if gates else y))
        return out


class Mamba2(Network):
    """Mamba-2 mixers, each with its RMSNorm and its skip."""


@architecture(
    paper="Dao and Gu 2024, arXiv 2405.21060",
    claim="None of the paper's own; trained without the gate it collapses under λ = 1 (arXiv 2410.10609, experiments); "
    "at random weights gate=off,skip=off is thinning, not collapsed",
)
def mamba2(
    *,
    depth: int = 6,
    width: int = 64,
    heads: int = 4,
    state: int = 64,
    vocab: int = 256,
    norm: bool = True,
    gate: bool = True,
    skip: bool = True,
    head: Literal["lm", "classifier"] = "lm",
    classes: int = 10,
) -> Mamba2:
    """Mamba-2: RMSNorm, projection, convolution, selective state space with one A a head, gate, RMSNorm, skip.

    Args:
        depth: blocks.
        width: features of a token; twice as many inside a block.
        heads: of the inner features, a divisor of width.
        state: size of the state of an inner feature.
        vocab: number of ids; 256 for bytes.
        norm: RMSNorm before every mixer, after its gate, and before the head.
        gate: whether what leaves the state space is multiplied by a gate.
        skip: whether the input of a mixer is added to its output.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Example:
        >>> mamba2(depth=2, heads=8).blocks[0].mixer.A_log.shape
        torch.Size([8])
    """
    sizes = {"depth": depth, "width": width, "heads": heads, "state": state, "vocab": vocab, "classes": classes}
    check_sizes("mamba2", sizes)
    norms = [nn.RMSNorm(width, eps=EPS) if norm else nn.Identity() for _ in range(depth + 1)]
    blocks = [
        Sublayer(Mamba2Mixer(width, heads, state, norm=norm, gate=gate), norms[k], pre=True, skip=skip)
        for k in range(depth)
    ]
    return Mamba2(blocks, width=width, vocab=vocab, head=head, classes=classes, last_norm=norms[depth])
