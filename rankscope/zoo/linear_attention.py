"""Linear attention: softmax's exp(q·k) replaced by φ(q)·φ(k), so that the past fits into one matrix a head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from rankscope.zoo import architecture
from rankscope.zoo._parts import LAST_NORM, MLP, Attention, Block, Network, check_sizes, few_hidden

if TYPE_CHECKING:
    from torch import nn


def feature_map(x: Tensor) -> Tensor:
    """φ(x) = elu(x) + 1, positive (arXiv 2006.16236, Eq. 7).

    Args:
        x: queries or keys.

    Returns:
        The same shape, values over 0.

    Example:
        >>> feature_map(torch.tensor([0.0, 2.0]))
        tensor([1., 3.])
    """
    return F.elu(x) + 1


def _divided(total: Tensor, weight: Tensor) -> Tensor:
    """Their ratio; 0 where φ(q) is so small that no weight is left, as it is of huge negative queries."""
    return total / weight.clamp(min=torch.finfo(weight.dtype).tiny)


class LinearAttention(Attention):
    """Attention with the weights φ(q_i)·φ(k_j) / Σ_j φ(q_i)·φ(k_j) (arXiv 2006.16236, Eqs. 5 and 9)."""

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """The matrices (batch, heads, tokens, tokens) that `attend` mixes by; their rows sum to 1."""
        products = feature_map(q) @ feature_map(k).mT
        if self.causal:
            products = products.tril()
        return _divided(products, products.sum(dim=-1, keepdim=True))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Mixed values through the output map: (batch, heads, tokens, width / heads) to (batch, tokens, width)."""
        y: Tensor = self.out((self.weights(q, k) @ v).transpose(1, 2).flatten(-2))
        return y

    def recurrent(self, x: Tensor) -> Tensor:
        """What causal attention gives, token by token with a state of one size (arXiv 2006.16236, Eqs. 16 to 20).

        Args:
            x: (batch, tokens, width).

        Returns:
            The same shape.
        """
        q, k, v = self.project(x)
        q, k = feature_map(q), feature_map(k)
        state, norm = torch.zeros_like(k[:, :, 0, :, None] * v[:, :, 0, None]), torch.zeros_like(k[:, :, 0])
        rows = []
        for t in range(x.shape[1]):
            state = state + k[:, :, t, :, None] * v[:, :, t, None]  # (batch, heads, width / heads, width / heads)
            norm = norm + k[:, :, t]
            mixed = (q[:, :, t, None] @ state)[:, :, 0]
            rows.append(_divided(mixed, (q[:, :, t] * norm).sum(dim=-1, keepdim=True)))
        y: Tensor = self.out(torch.stack(rows, dim=1).flatten(-2))
        return y


class LinearTransformer(Network):
    """Linear attention and MLP, each with its norm and its skip."""


@architecture(
    paper="Katharopoulos et al. 2020, arXiv 2006.16236",
    claim="None of the paper's own; its weights average too, so that it draws the tokens together (arXiv 2410.10609)",
)
def linear_attention(
    *,
    depth: int = 6,
    width: int = 64,
    heads: int = 4,
    vocab: int = 256,
    norm: Literal["pre", "post", "none"] = "pre",
    skip: bool = True,
    mlp: bool = True,
    ratio: float = 4.0,
    causal: bool = True,
    head: Literal["lm", "classifier"] = "lm",
    classes: int = 10,
) -> LinearTransformer:
    """Transformer whose attention is linear: φ(q)·φ(k) with φ = elu + 1 in the place of exp(q·k).

    Args:
        depth: blocks.
        width: features of a token.
        heads: attention heads, a divisor of width.
        vocab: number of ids; 256 for bytes.
        norm: LayerNorm before the mixer (pre) or after the skip (post); or none.
        skip: whether the input of a mixer is added to its output.
        mlp: whether an MLP follows the attention.
        ratio: hidden units of the MLP over width.
        causal: whether a token sees only itself and those before it.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Example:
        >>> len(linear_attention(depth=2).blocks)
        2
    """
    sizes = {"depth": depth, "width": width, "heads": heads, "vocab": vocab, "classes": classes}
    check_sizes("linear_attention", sizes, few_hidden(ratio, width))
    blocks = []
    for _ in range(depth):
        mixers: dict[str, nn.Module] = {"attention": LinearAttention(width, heads, causal=causal)}
        if mlp:
            mixers["mlp"] = MLP(width, int(ratio * width))
        blocks.append(Block(mixers, width, norm, skip=skip))
    last_norm = LAST_NORM[norm](width)
    return LinearTransformer(blocks, width=width, vocab=vocab, head=head, classes=classes, last_norm=last_norm)
