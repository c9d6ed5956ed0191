"""ResiDual: a Post-LN stream that feeds the sublayers, and beside it a stream of their plain sum (arXiv 2304.14802).

- f = f_k(x_ln); x_ln ← LN(x_ln + f); x_d ← x_d + s·f, which starts as s·x(1); output x_ln + LN(x_d)
- every attention and every MLP is one f_k of the paper: a block of the zoo holds two of them, or one without MLP
- with s = 0 the dual stream stays 0, and the model is the Post-LN transformer, bit for bit
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

from rankscope.zoo import architecture
from rankscope.zoo._parts import MLP, Attention, Network, check_sizes, few_hidden, layer_norm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rankscope.zoo._parts import Head


class DualSublayer(nn.Module):
    """One f_k: ``norm(x + f)`` beside ``dual + scale * f``."""

    def __init__(self, mixer: nn.Module, width: int, scale: float) -> None:
        super().__init__()
        self.mixer = mixer
        self.norm = layer_norm(width)
        self.scale = scale

    def forward(self, x: Tensor, dual: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams, (batch, tokens, width) each, with f added."""
        f: Tensor = self.mixer(x)
        return self.norm(x + f), dual + self.scale * f


class DualBlock(nn.Module):
    """Sublayers one after the other, by name; the Post-LN stream comes first, and a hook takes it for the block's."""

    def __init__(self, mixers: Mapping[str, nn.Module], width: int, scale: float) -> None:
        super().__init__()
        for name, mixer in mixers.items():
            self.add_module(name, DualSublayer(mixer, width, scale))

    def forward(self, x: Tensor, dual: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams, (batch, tokens, width) each, after the block."""
        for sublayer in self.children():
            x, dual = sublayer(x, dual)
        return x, dual


class ResiDual(Network):
    """A network of two streams, which are added when the last block has run; the sum goes through `last_norm`."""

    # What is told of a probe: in random weights the first stream is that of the post-norm transformer.
    unmeasured = (
        "a block's output is the Post-LN stream alone; the dual stream, which tells resi_dual from a post-norm "
        "transformer, joins it after the last block: --layers last_norm measures the sum that the head reads"
    )

    def __init__(
        self, blocks: list[DualBlock], scale: float, *, width: int, vocab: int, head: Head, classes: int
    ) -> None:
        super().__init__(blocks, width=width, vocab=vocab, head=head, classes=classes)
        self.scale = scale
        self.dual_norm = layer_norm(width)

    def through(self, x: Tensor) -> Tensor:
        """x_ln + LN(x_d) after the last block, (batch, tokens, width) like x."""
        dual = self.scale * x
        for block in self.blocks:
            x, dual = block(x, dual)
        y: Tensor = x + self.dual_norm(dual)
        return y


@architecture(
    paper="Xie et al. 2023 (ResiDual), arXiv 2304.14802",
    claim="Post-LN representations that do not collapse, with a way for gradients that does not vanish with depth",
)
def resi_dual(
    *,
    depth: int = 6,
    width: int = 64,
    heads: int = 4,
    vocab: int = 256,
    scale: float = 1.0,
    mlp: bool = True,
    ratio: float = 4.0,
    causal: bool = True,
    head: Literal["lm", "classifier"] = "lm",
    classes: int = 10,
) -> ResiDual:
    """ResiDual: a Post-LN stream, whose sublayers' outputs are also summed, unnormalised, in a dual stream.

    A hook on a block sees the Post-LN stream: the sublayers read it. The dual one joins it at the end; what the head
    then reads, x_ln + LN(x_d), is the input and the output of `last_norm`.

    Args:
        depth: blocks, of attention and MLP each: the paper counts both, and would say 2·depth.
        width: features of a token.
        heads: attention heads, a divisor of width.
        vocab: number of ids; 256 for bytes.
        scale: s, which keeps the dual stream in range (0.05 for float16 in the paper); its norm cancels it; 0 leaves
            the dual stream out.
        mlp: whether an MLP follows the attention.
        ratio: hidden units of the MLP over width.
        causal: whether a token sees only itself and those before it.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Example:
        >>> import torch
        >>> resi_dual(depth=2)(torch.zeros(1, 5, dtype=torch.long)).shape
        torch.Size([1, 5, 256])
    """
    sizes = {"depth": depth, "width": width, "heads": heads, "vocab": vocab, "classes": classes}
    check_sizes("resi_dual", sizes, few_hidden(ratio, width))
    blocks = []
    for _ in range(depth):
        mixers: dict[str, nn.Module] = {"attention": Attention(width, heads, causal=causal)}
        if mlp:
            mixers["mlp"] = MLP(width, int(ratio * width))
        blocks.append(DualBlock(mixers, width, scale))
    return ResiDual(blocks, scale, width=width, vocab=vocab, head=head, classes=classes)
