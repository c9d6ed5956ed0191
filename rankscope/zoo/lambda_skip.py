"""λ-skip: Y(k+1) = D(k)(M(k) Y(k) C_V(k) + λ Y(k)), around any of the mixers that the paper treats as one form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from rankscope.zoo import architecture
from rankscope.zoo._parts import MLP, Attention, Network, RowNorm, check_sizes, few_hidden, layer_norm, not_one_a_block

if TYPE_CHECKING:
    from collections.abc import Callable

NORM: dict[str, Callable[[int], nn.Module]] = {
    "row": lambda width: RowNorm(),  # noqa: ARG005 - it has no weights
    "layer": layer_norm,
    "rms": nn.RMSNorm,
    "none": nn.Identity,
}


class LambdaSkipBlock(nn.Module):
    """``norm(lam * x + mixer(x))``, then the same around an MLP where there is one, with the λ of the block.

    Args:
        mixer: mixes tokens.
        norm: makes D for a width.
        width: features of a token.
        lam: λ; None makes it a parameter, which starts at 1.
        hidden: hidden units of the MLP; 0 leaves it out.
    """

    def __init__(
        self, mixer: nn.Module, norm: Callable[[int], nn.Module], *, width: int, lam: float | None, hidden: int = 0
    ) -> None:
        super().__init__()
        self.lam = nn.Parameter(torch.ones(())) if lam is None else lam
        self.mixer = mixer
        self.norm = norm(width)
        if hidden:
            self.mlp = MLP(width, hidden)
            self.mlp_norm = norm(width)
        self.has_mlp = hidden > 0

    def forward(self, x: Tensor) -> Tensor:
        """Mix, add λ times the input, normalise.

        Args:
            x: (batch, tokens, width).

        Returns:
            The same shape.
        """
        y: Tensor = self.norm(self.lam * x + self.mixer(x))
        return self.mlp_norm(self.lam * y + self.mlp(y)) if self.has_mlp else y

    def lambdas(self) -> dict[str, Tensor]:
        """λ of this block, learned or not.

        Returns:
            ``lambda``: a scalar.
        """
        return {"lambda": self.lam if isinstance(self.lam, Tensor) else torch.tensor(self.lam)}


class LambdaSkip(Network):
    """Blocks with λ-skip; with the row norm they start from unit rows, as the theorem does."""


@architecture(
    paper="Arangath Joseph et al. 2024, arXiv 2410.10609",
    claim="Without skip the tokens collapse; where |λ| is large against the mixer, their differences stay (Theorem 4.1)",
)
def lambda_skip(
    *,
    depth: int = 6,
    width: int = 64,
    heads: int = 4,
    vocab: int = 256,
    mixer: Literal["attention"] = "attention",
    lam: tuple[float, ...] | Literal["learned"] = (1.0,),
    norm: Literal["row", "layer", "rms", "none"] = "row",
    mlp: bool = False,
    ratio: float = 4.0,
    causal: bool = True,
    head: Literal["lm", "classifier"] = "lm",
    classes: int = 10,
) -> LambdaSkip:
    """The λ-skip layer Y(k+1) = D(k)(M(k) Y(k) C_V(k) + λ Y(k)) around attention, linear attention or an SSM.

    Args:
        depth: blocks.
        width: features of a token.
        heads: groups of features with a mixing matrix of their own, a divisor of width.
        vocab: number of ids; 256 for bytes.
        mixer: what mixes the tokens.
        lam: λ, the factor of the skip: one value for all blocks, one a block, or learned from 1 on; 0 is no skip.
        norm: D: rows scaled to unit length (row), LayerNorm, RMSNorm, or none.
        mlp: whether an MLP follows, with the same λ and a norm of its own.
        ratio: hidden units of the MLP over width.
        causal: whether a token sees only itself and those before it; an SSM is causal.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Example:
        >>> model = lambda_skip(depth=2, lam=(1.0, 4.0))
        >>> [block.lambdas()["lambda"].item() for block in model.blocks]
        [1.0, 4.0]
    """
    sizes = {"depth": depth, "width": width, "heads": heads, "vocab": vocab, "classes": classes}
    scales = (None,) if lam == "learned" else lam
    check_sizes("lambda_skip", sizes, few_hidden(ratio, width), not_one_a_block("lam", scales, depth))
    hidden = int(ratio * width) if mlp else 0
    blocks = [
        LambdaSkipBlock(Attention(width, heads, causal=causal), NORM[norm], width=width, lam=scale, hidden=hidden)
        for scale in scales * (depth // len(scales))
    ]
    first_norm = RowNorm() if norm == "row" else None
    # A head sees too little in rows of length 1, and learning then turns all tokens into the one direction that makes
    # up for it: 24 blocks with λ = 4 had collapsed after 300 steps without this RMSNorm, and with it they had not.
    last_norm = nn.RMSNorm(width) if norm == "row" else None
    return LambdaSkip(
        blocks, width=width, vocab=vocab, head=head, classes=classes, first_norm=first_norm, last_norm=last_norm
    )
