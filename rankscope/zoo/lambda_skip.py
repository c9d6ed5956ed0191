"""λ-skip: Y(k+1) = D(k)(M(k) Y(k) C_V(k) + λ Y(k)), around any of the mixers that the paper treats as one form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from rankscope.zoo import architecture
from rankscope.zoo._parts import MLP, Attention, Network, RowNorm, check_sizes, few_hidden, layer_norm, not_one_a_block
from rankscope.zoo._selective import SelectiveSSM
from rankscope.zoo.linear_attention import LinearAttention
from rankscope.zoo.s4d import LTI, odd_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

NORM: dict[str, Callable[[int], nn.Module]] = {
    "row": lambda width: RowNorm(),  # noqa: ARG005 - it has no weights
    "layer": layer_norm,
    "rms": nn.RMSNorm,
    "none": nn.Identity,
}
Mixer = Literal["attention", "linear_attention", "s4d", "mamba", "mamba2"]


def bare_mixer(name: Mixer, width: int, heads: int, state: int, *, causal: bool) -> nn.Module:
    """A mixer as the paper has it: of an SSM nothing but the state space, C_V = I.

    Args:
        name: which one.
        width: features of a token.
        heads: groups of features with a mixing matrix of their own.
        state: size of the state of a feature, of an SSM.
        causal: of attention.

    Returns:
        The module, from (batch, tokens, width) to the same.
    """
    if name == "attention":
        return Attention(width, heads, causal=causal)
    if name == "linear_attention":
        return LinearAttention(width, heads, causal=causal)
    if name == "s4d":
        return LTI(width, heads, state, feedthrough=False)
    return SelectiveSSM(width, heads, state, scalar=name == "mamba2")


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
    claim="Without skip the tokens collapse; if |λ| is large against the mixer, their differences stay (Theorem 4.1)",
)
def lambda_skip(
    *,
    depth: int = 6,
    width: int = 64,
    heads: int = 4,
    state: int = 16,
    vocab: int = 256,
    mixer: Literal["attention", "linear_attention", "s4d", "mamba", "mamba2"] = "attention",
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
        state: size of the state of a feature of an SSM; even for s4d.
        vocab: number of ids; 256 for bytes.
        mixer: what mixes the tokens; of s4d, mamba and mamba2 the state space alone, without convolution and gate.
        lam: λ, the factor of the skip: one value for all blocks, one a block, or learned from 1 on; 0 is no skip.
        norm: D: rows scaled to unit length (row), LayerNorm, RMSNorm, or none.
        mlp: whether an MLP follows, with the same λ and a norm of its own.
        ratio: hidden units of the MLP over width.
        causal: whether a token of attention sees only itself and those before it; an SSM is causal, and has no choice.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Example:
        >>> model = lambda_skip(depth=2, mixer="mamba2", lam=(1.0, 4.0))
        >>> [block.lambdas()["lambda"].item() for block in model.blocks]
        [1.0, 4.0]
    """
    sizes = {"depth": depth, "width": width, "heads": heads, "state": state, "vocab": vocab, "classes": classes}
    scales = (None,) if lam == "learned" else lam
    check_sizes(
        "lambda_skip",
        sizes,
        few_hidden(ratio, width),
        not_one_a_block("lam", scales, depth),
        odd_pairs(state, "lin") if mixer == "s4d" else "",
        _no_future(mixer, causal=causal),
    )
    hidden = int(ratio * width) if mlp else 0
    blocks = [
        LambdaSkipBlock(
            bare_mixer(mixer, width, heads, state, causal=causal), NORM[norm], width=width, lam=scale, hidden=hidden
        )
        for scale in scales * (depth // len(scales))
    ]
    first_norm = RowNorm() if norm == "row" else None
    # A head sees too little in rows of length 1, and learning then turns all tokens into the one direction that makes
    # up for it: 24 blocks with λ = 4 had collapsed after 300 steps without this RMSNorm, and with it they had not.
    last_norm = nn.RMSNorm(width) if norm == "row" else None
    return LambdaSkip(
        blocks, width=width, vocab=vocab, head=head, classes=classes, first_norm=first_norm, last_norm=last_norm
    )


def _no_future(mixer: Mixer, *, causal: bool) -> str:
    """What is wrong with an SSM that is asked to see tokens to come; empty where nothing is."""
    return "" if causal or "attention" in mixer else f"causal is off, and mixer={mixer} sees no token to come"
