"""Transformer over bytes or other ids: a language model or a classifier.

- sinusoidal positions: nothing learned, any length
- norm before the mixer (pre), after the skip (post), or none; skip on or off
- attention through F.scaled_dot_product_attention, causal or not; with an MLP or alone
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rankscope.zoo import architecture
from rankscope.zoo._parts import LAST_NORM, MLP, Attention, Block, Network, check_sizes, few_hidden

if TYPE_CHECKING:
    from torch import nn


class Transformer(Network):
    """Attention and MLP, each with its norm and its skip."""


@architecture(
    paper="Vaswani et al. 2017, arXiv 1706.03762",
    claim="Attention alone draws the tokens together as depth grows, skips resist (Dong et al. 2021, arXiv 2103.03404)",
)
def transformer(
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
) -> Transformer:
    """Transformer over ids: attention and MLP, each with its norm and its skip.

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
        >>> transformer(depth=2, norm="post").blocks[0].mlp.mixer.up.out_features
        256
    """
    sizes = {"depth": depth, "width": width, "heads": heads, "vocab": vocab, "classes": classes}
    check_sizes("transformer", sizes, few_hidden(ratio, width))
    blocks = []
    for _ in range(depth):
        mixers: dict[str, nn.Module] = {"attention": Attention(width, heads, causal=causal)}
        if mlp:
            mixers["mlp"] = MLP(width, int(ratio * width))
        blocks.append(Block(mixers, width, norm, skip=skip))
    last_norm = LAST_NORM[norm](width)
    return Transformer(blocks, width=width, vocab=vocab, head=head, classes=classes, last_norm=last_norm)
