"""Selective state spaces: y_i = Σ_(j ≤ i) C_iᵀ (Π_(t=j+1..i) A_t) B_j Δ_j x_j with A_t = exp(Δ_t A), and A diagonal.

Three forms of one sum: `scan` token by token, `matrices` all at once, `chunked` in pieces where A is a number a head.
Letters of the shapes: b batch, t tokens, h heads, p features of a head, n size of the state.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from rankscope.zoo._parts import Mixing

STEPS = (1e-3, 1e-1)  # Δ starts between these, evenly in its logarithm (arXiv 2312.00752, §3.6)
CHUNK = 64


def scan(x: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Token by token: s ← exp(ΔA) s + B Δx, y = C s.

    Args:
        x: (b, t, h, p).
        step: Δ, over 0: (b, t, h).
        a: A, under 0: (h, n), or (h, 1) where it is a number a head.
        b: B: (b, t, n).
        c: C: (b, t, n).

    Returns:
        The shape of x.
    """
    state, pieces = torch.zeros((), dtype=x.dtype, device=x.device), []
    for start in range(0, x.shape[1], CHUNK):  # what all tokens of a chunk bring is had at once, to be quick
        here = slice(start, start + CHUNK)
        decay = torch.exp(step[:, here, :, None] * a)[..., None, :]  # (b, chunk, h, 1, n or 1)
        entering = (step[:, here, :, None] * x[:, here])[..., None] * b[:, here, None, None]  # (b, chunk, h, p, n)
        states = []
        for one, brought in zip(decay.unbind(1), entering.unbind(1), strict=True):
            state = torch.addcmul(brought, one, state)
            states.append(state)
        pieces.append(torch.einsum("bthpn,btn->bthp", torch.stack(states, dim=1), c[:, here]))
    return torch.cat(pieces, dim=1)


def matrices(step: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """M_ij = C_iᵀ exp(Σ_(t=j+1..i) Δ_t A) B_j Δ_j for j ≤ i, the decays summed in their logarithm.

    Args:
        step: Δ: (b, t, h).
        a: A: (h, n), or (h, 1).
        b: B: (b, t, n).
        c: C: (b, t, n).

    Returns:
        (b, h, t, t), lower triangular; ``einsum("bhij,bjhp->bihp", M, x)`` is what `scan` gives.
    """
    summed = step.mT.cumsum(dim=-1)  # (b, h, t)
    later = torch.ones(2 * summed.shape[-1:], dtype=torch.bool, device=summed.device).triu(1)
    span = summed[..., :, None] - summed[..., None, :]  # Σ_(t=j+1..i) Δ_t
    span = span.masked_fill(later, 0)  # not ∞: exp(−∞) has the gradient NaN
    if a.shape[1] == 1:
        mixed = (c @ b.mT)[:, None] * torch.exp(span * a[:, :, None])
    else:  # mode by mode: all at once would take the memory of n matrices
        mixed = torch.zeros_like(span)
        for n in range(a.shape[1]):
            mixed = mixed + c[:, None, :, None, n] * b[:, None, None, :, n] * torch.exp(span * a[:, n, None, None])
    return mixed.tril() * step.mT[:, :, None]


def chunked(x: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int = CHUNK) -> Tensor:
    """By matrices inside a chunk and by its state between chunks (arXiv 2405.21060, §6).

    Args:
        x: (b, t, h, p).
        step: Δ: (b, t, h).
        a: A: (h, 1).
        b: B: (b, t, n).
        c: C: (b, t, n).
        chunk: tokens of a chunk.

    Returns:
        The shape of x; what `scan` gives.
    """
    entering = (step[..., None] * x).transpose(1, 2)  # (b, h, t, p)
    state, pieces = None, []
    for start in range(0, x.shape[1], chunk):
        here = slice(start, start + chunk)
        into, out, u, steps = b[:, None, here], c[:, None, here], entering[:, :, here], step[:, here]
        mixed = matrices(steps, a, b[:, here], c[:, here]) @ x[:, here].transpose(1, 2)
        since = a * steps.mT.cumsum(dim=-1)  # the logarithm of the decay since the chunk began: (b, h, chunk)
        if state is not None:
            mixed = mixed + since.exp()[..., None] * (out @ state)
        left = torch.exp(since[..., -1:] - since)[..., None]  # the decay until the chunk ends
        own = into.mT @ (left * u)  # (b, h, n, p)
        state = own if state is None else own + since[..., -1:, None].exp() * state
        pieces.append(mixed)
    return torch.cat(pieces, dim=2).transpose(1, 2)


def start_steps(size: int) -> Tensor:
    """Biases, (size,), whose softplus is a Δ to start with."""
    low, high = map(math.log, STEPS)
    step = torch.exp(torch.rand(size) * (high - low) + low)
    return step + torch.log(-torch.expm1(-step))  # the inverse of softplus


class SelectiveSSM(nn.Module):
    """The state space of Mamba (a diagonal A) or of Mamba-2 (a number) and nothing else: C_V = I (arXiv 2410.10609).

    Args:
        width: features.
        heads: groups of width/heads features with an A and a Δ of their own; B and C are the same for all.
        state: size of the state of a feature.
        scalar: whether A is a number a head.
    """

    def __init__(self, width: int, heads: int, state: int, *, scalar: bool) -> None:
        super().__init__()
        self.heads = heads
        self.scalar = scalar
        self.step = nn.Linear(width, heads)
        self.enter = nn.Linear(width, state, bias=False)  # B
        self.leave = nn.Linear(width, state, bias=False)  # C
        start = torch.arange(1.0, heads + 1)[:, None] if scalar else torch.arange(1.0, state + 1)
        self.A_log = nn.Parameter(torch.empty(heads, 1 if scalar else state).copy_(start.log()))
        with torch.no_grad():
            self.step.bias.copy_(start_steps(heads))

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Δ, A, B and C for x (batch, tokens, width)."""
        return F.softplus(self.step(x)), -self.A_log.exp(), self.enter(x), self.leave(x)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens of x (batch, tokens, width), every feature by itself."""
        run = chunked if self.scalar else scan
        return run(x.reshape(*x.shape[:2], self.heads, -1), *self.parts(x)).flatten(-2)

    def recurrent(self, x: Tensor) -> Tensor:
        """The same, token by token."""
        return scan(x.reshape(*x.shape[:2], self.heads, -1), *self.parts(x)).flatten(-2)

    def mixing(self, x: Tensor) -> Mixing:
        """M_ij = C_iᵀ (Π_(t=j+1..i) A_t) B_j Δ_j, C_V = I.

        Args:
            x: (batch, tokens, width).

        Returns:
            One group a head.
        """
        return Mixing(matrices(*self.parts(x)))
