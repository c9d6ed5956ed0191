"""S4D: a diagonal linear time-invariant state space, as one long convolution or as a recurrence."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from rankscope.zoo import architecture
from rankscope.zoo._parts import LAST_NORM, Block, Mixing, Network, check_sizes

Init = Literal["lin", "real"]
STEPS = (1e-3, 1e-1)  # Δ starts between these, evenly in its logarithm


class LTI(nn.Module):
    """y_i = Σ_(j ≤ i) k_(i−j) x_j + D x_i with k_l = Re Σ_n C_n B̄_n exp(lΔA_n) (arXiv 2206.11893, Eq. 4).

    B̄ = (exp(ΔA) − 1)/A: zero-order hold, B = 1. A starts as −1/2 + πin, one of each pair of conjugates (S4D-Lin), or as
    −(n + 1) (S4D-Real).

    Args:
        width: features.
        kernels: kernels k, each for width/kernels features: `width` as S4D has it, 1 for the M of arXiv 2410.10609.
        state: size of the state; even with ``init="lin"``.
        init: where A starts.
        feedthrough: whether there is a D.
    """

    def __init__(self, width: int, kernels: int, state: int, *, init: Init = "lin", feedthrough: bool = True) -> None:
        super().__init__()
        modes = state // 2 if init == "lin" else state
        self.kernels, self.pairs = kernels, init == "lin"
        self.log_step = nn.Parameter(torch.empty(kernels).uniform_(*map(math.log, STEPS)))
        decay = torch.full((modes,), 0.5) if self.pairs else torch.arange(1.0, modes + 1)
        self.log_decay = nn.Parameter(torch.empty(kernels, modes).copy_(decay.log()))  # the real part stays negative
        turn = math.pi * torch.arange(modes)
        self.frequency = nn.Parameter(torch.empty(kernels, modes).copy_(turn)) if self.pairs else None
        parts = 2 if self.pairs else 1
        self.read_out = nn.Parameter(torch.empty(kernels, modes, parts).normal_(std=parts**-0.5))  # C, Re then Im
        self.D = nn.Parameter(torch.empty(width).normal_()) if feedthrough else None

    def modes(self) -> tuple[Tensor, Tensor]:
        """ΔA and C·B̄ of every kernel, (kernels, modes), complex for pairs of conjugates, whose halves are added up."""
        wide = torch.promote_types(self.log_step.dtype, torch.float32)  # bfloat16 has no complex numbers
        step, a, c = self.log_step.to(wide).exp()[:, None], -self.log_decay.to(wide).exp(), self.read_out.to(wide)
        if self.frequency is None:
            c = c[..., 0]
        else:
            a, c = torch.complex(a, self.frequency.to(wide)), 2 * torch.view_as_complex(c)
        return step * a, c * torch.expm1(step * a) / a

    def kernel(self, tokens: int) -> Tensor:
        """k_0 to k_(tokens − 1).

        Args:
            tokens: how many.

        Returns:
            (kernels, tokens).
        """
        log_a, c = self.modes()
        powers = torch.exp(log_a[..., None] * torch.arange(tokens, device=log_a.device))  # (kernels, modes, tokens)
        k = torch.einsum("km,kmt->kt", c, powers)
        return k.real if k.is_complex() else k

    def forward(self, x: Tensor) -> Tensor:
        """Convolve the tokens with the kernels, by the fast Fourier transform.

        Args:
            x: (batch, tokens, width).

        Returns:
            The same shape.
        """
        tokens, wide = x.shape[1], torch.promote_types(x.dtype, torch.float32)  # nor a transform
        k = torch.fft.rfft(self.kernel(tokens).to(wide), n=2 * tokens)  # twice as long: nothing wraps around
        k = k.repeat_interleave(x.shape[-1] // self.kernels, dim=0).mT  # (frequencies, width)
        y = torch.fft.irfft(torch.fft.rfft(x.to(wide), n=2 * tokens, dim=1) * k, n=2 * tokens, dim=1)
        return self.through(x, y[:, :tokens].to(x.dtype))

    def recurrent(self, x: Tensor) -> Tensor:
        """The same, token by token: s ← exp(ΔA) s + B̄ x, y = Re C s.

        Args:
            x: (batch, tokens, width).

        Returns:
            The same shape.
        """
        log_a, c = self.modes()
        a, parts = log_a.exp()[:, None], x.reshape(*x.shape[:2], self.kernels, -1)  # (batch, tokens, kernels, features)
        state = torch.zeros_like(parts[:, 0, ..., None] * a)  # (batch, kernels, features, modes)
        rows = []
        for t in range(x.shape[1]):
            state = a * state + parts[:, t, ..., None]
            rows.append((state * c[:, None]).sum(dim=-1).flatten(-2))
        y = torch.stack(rows, dim=1)
        return self.through(x, (y.real if y.is_complex() else y).to(x.dtype))

    def through(self, x: Tensor, y: Tensor) -> Tensor:
        """Adds D x to what the state gives, where there is a D."""
        return y if self.D is None else y + x * self.D

    def mixing(self, x: Tensor) -> Mixing:
        """M_g = the Toeplitz matrix of kernel g, with D on the diagonal.

        Args:
            x: (batch, tokens, width); the matrices do not depend on its values.

        Returns:
            One group a kernel; with a D, one group a feature.
        """
        tokens, width = x.shape[1:]
        lag = torch.arange(tokens, device=x.device)
        lag = lag[:, None] - lag  # (tokens, tokens)
        matrices = self.kernel(tokens)[:, lag.clamp(min=0)].masked_fill(lag < 0, 0)
        if self.D is not None:
            matrices = matrices.repeat_interleave(width // self.kernels, dim=0)
            matrices = matrices + self.D[:, None, None] * torch.eye(tokens, device=x.device, dtype=x.dtype)
        return Mixing(matrices.to(x.dtype).expand(x.shape[0], -1, -1, -1))


class S4DMixer(nn.Module):
    """The state space of every feature, GELU, then a linear map with a gate, which mixes the features."""

    def __init__(self, width: int, state: int, init: Init) -> None:
        super().__init__()
        self.ssm = LTI(width, width, state, init=init)
        self.out = nn.Linear(width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens of x (batch, tokens, width), then the features."""
        return F.glu(self.out(F.gelu(self.ssm(x))), dim=-1)


class S4D(Network):
    """State spaces, each with its norm and its skip."""


def odd_pairs(state: int, init: Init) -> str:
    """What is wrong with the size of a state of conjugate pairs; empty where nothing is."""
    return f"state is {state}, expected an even number: pairs of conjugates" if init == "lin" and state % 2 else ""


@architecture(
    paper="Gu et al. 2022, arXiv 2206.11893",
    claim="None of the paper's own; LTI SSMs without skip collapse (arXiv 2410.10609), which random weights hide",
)
def s4d(
    *,
    depth: int = 6,
    width: int = 64,
    state: int = 64,
    vocab: int = 256,
    init: Literal["lin", "real"] = "lin",
    norm: Literal["pre", "post", "none"] = "pre",
    skip: bool = True,
    head: Literal["lm", "classifier"] = "lm",
    classes: int = 10,
) -> S4D:
    """S4D: norm, a diagonal state space for every feature, GELU, a gated linear map, skip.

    Args:
        depth: blocks.
        width: features of a token.
        state: size of the state of a feature; even with ``init=lin``.
        vocab: number of ids; 256 for bytes.
        init: where A starts: −1/2 + πin (lin) or −(n + 1) (real).
        norm: LayerNorm before the mixer (pre) or after the skip (post); or none.
        skip: whether the input of a mixer is added to its output.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Example:
        >>> s4d(depth=2, state=8).blocks[0].ssm.mixer.ssm.kernel(5).shape
        torch.Size([64, 5])
    """
    sizes = {"depth": depth, "width": width, "state": state, "vocab": vocab, "classes": classes}
    check_sizes("s4d", sizes, odd_pairs(state, init))
    blocks = [Block({"ssm": S4DMixer(width, state, init)}, width, norm, skip=skip) for _ in range(depth)]
    last_norm = LAST_NORM[norm](width)
    return S4D(blocks, width=width, vocab=vocab, head=head, classes=classes, last_norm=last_norm)
