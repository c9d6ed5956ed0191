"""NeuTRENO: attention plus what the values have lost since the first layer (Nguyen et al. 2023, arXiv 2312.00751).

- U_n = A_n V_n + s (V_1 − V_n) in every head, before the output map; s = 0.4
- attention gets V_n as it is: unlike in ResFormer, V_1 is not mixed over tokens
- everything else is the pre-norm transformer: with s = 0 it is that, bit for bit
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F  # noqa: N812 - the field's name for it

from rankscope.zoo import architecture
from rankscope.zoo._parts import Head, Heads, check_sizes, layer_norm
from rankscope.zoo._values import ValueBlock, ValueNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class RestoringAttention(Heads):
    """Attention that adds ``strength`` times V_1 − V_n to what each head gives."""

    def __init__(self, width: int, heads: int, *, causal: bool, strength: float) -> None:
        super().__init__(width, heads, causal=causal)
        self.strength = strength

    def forward(self, x: Tensor, earlier: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Mix tokens.

        Args:
            x: (batch, tokens, width).
            earlier: V_1 to V_(n-1), each (batch, heads, tokens, width / heads).

        Returns:
            The mixed tokens, of the shape of x; V_n, of that of the earlier ones.
        """
        q, k, v = self.project(x)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)  # (batch, heads, tokens, width / heads)
        if earlier:
            mixed = mixed + self.strength * (earlier[0] - v)
        return self.out(mixed.transpose(1, 2).flatten(-2)), v


@architecture(
    paper="Nguyen et al. 2023 (NeuTRENO), arXiv 2312.00751, as compared in arXiv 2410.17897",
    claim="Pulling every layer's values towards those of the first mitigates over-smoothing",
)
def neutreno(
    *,
    depth: int = 6,
    width: int = 64,
    heads: int = 4,
    vocab: int = 256,
    strength: float = 0.4,
    causal: bool = True,
    head: Head = "lm",
    classes: int = 10,
) -> ValueNetwork:
    """NeuTRENO: to what attention gives is added 0.4 (V_1 − V_n), the values' way back to those of the first layer.

    Args:
        depth: blocks, of attention and MLP each.
        width: features of a token.
        heads: attention heads, a divisor of width.
        vocab: number of ids; 256 for bytes.
        strength: factor of V_1 − V_n; 0.4 in the comparison of the value-residual paper.
        causal: whether a token sees only itself and those before it.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Example:
        >>> import torch
        >>> neutreno(depth=2)(torch.zeros(1, 5, dtype=torch.long)).shape
        torch.Size([1, 5, 256])
    """
    sizes = {"depth": depth, "width": width, "heads": heads, "vocab": vocab, "classes": classes}
    check_sizes("neutreno", sizes)
    attentions = [RestoringAttention(width, heads, causal=causal, strength=strength) for _ in range(depth)]
    blocks = [ValueBlock(attention, width) for attention in attentions]
    return ValueNetwork(blocks, width=width, vocab=vocab, head=head, classes=classes, last_norm=layer_norm(width))
