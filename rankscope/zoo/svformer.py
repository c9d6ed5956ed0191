"""SVFormer: every layer attends to the values of the first (arXiv 2410.17897).

- U_n = A_n V_1; from the second layer on there is no W^V, and a cache of keys and values is nearly half as large
- everything else is the pre-norm transformer
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.zoo import architecture
from rankscope.zoo._parts import Head, Heads, check_sizes, layer_norm
from rankscope.zoo._values import ValueAttention, ValueBlock, ValueNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


class BorrowedAttention(Heads):
    """Attention over V_1, without values of its own."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__(width, heads, causal=causal)
        del self.value

    def forward(self, x: Tensor, earlier: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Mix tokens.

        Args:
            x: (batch, tokens, width).
            earlier: V_1 first, (batch, heads, tokens, width / heads).

        Returns:
            The mixed tokens, of the shape of x; V_1.
        """
        q, k = (linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for linear in (self.query, self.key))
        return self.attend(q, k, earlier[0]), earlier[0]


@architecture(
    paper="Zhou et al. 2024 (Value Residual), arXiv 2410.17897",
    claim="One set of values for all layers nearly halves the cache, for 12.2 % more parameters at equal loss",
)
def svformer(
    *,
    depth: int = 6,
    width: int = 64,
    heads: int = 4,
    vocab: int = 256,
    causal: bool = True,
    head: Head = "lm",
    classes: int = 10,
) -> ValueNetwork:
    """SVFormer: every layer attends to the values of the first, U_n = A_n V_1.

    Args:
        depth: blocks, of attention and MLP each.
        width: features of a token.
        heads: attention heads, a divisor of width.
        vocab: number of ids; 256 for bytes.
        causal: whether a token sees only itself and those before it.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Example:
        >>> [hasattr(block.attention.mixer, "value") for block in svformer(depth=3).blocks]
        [True, False, False]
    """
    sizes = {"depth": depth, "width": width, "heads": heads, "vocab": vocab, "classes": classes}
    check_sizes("svformer", sizes)
    attentions: list[nn.Module] = [ValueAttention(width, heads, causal=causal)]
    attentions += [BorrowedAttention(width, heads, causal=causal) for _ in range(depth - 1)]
    blocks = [ValueBlock(attention, width) for attention in attentions]
    return ValueNetwork(blocks, width=width, vocab=vocab, head=head, classes=classes, last_norm=layer_norm(width))
