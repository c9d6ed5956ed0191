"""ResFormer: attention gets a mix of a layer's own values with those of earlier layers (arXiv 2410.17897).

- V'_n = λ1 V_1 + λ2 V_n from the second layer on, U_n = A_n V'_n; V_n = H_(n-1) W^V_n is what is handed on, unmixed
- dense: V'_n = λ_nn V_n + Σ_(i<n) λ_ni V_i
- everything else is the pre-norm transformer: with λ1 = 0 and λ2 = 1 it is that, bit for bit
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from rankscope.zoo import architecture
from rankscope.zoo._parts import check_sizes, layer_norm
from rankscope.zoo._values import ValueAttention, ValueBlock, ValueNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Variant = Literal["identity", "constant", "learnable", "learnable_plus", "sparse", "dense"]
Weights = tuple[float, ...] | Literal["paper"]

START = 0.5  # of what is learned: that of identity ResFormer
PAPER = {"identity": (0.5, 0.5), "constant": (2.0, 1.0), "sparse": (5.0, 1.0), "learnable": (START, START)}
"""λ1 and λ2 of each variant; those of constant and sparse are the best that the paper found."""


class Mix(nn.Module):
    """V'_n = λ1 V_1 + λ2 V_n."""

    def __init__(self, lambda_1: float, lambda_2: float, *, learned: bool = False) -> None:
        super().__init__()
        self.lambda_1 = nn.Parameter(torch.tensor(lambda_1)) if learned else lambda_1
        self.lambda_2 = nn.Parameter(torch.tensor(lambda_2)) if learned else lambda_2

    def forward(self, own: Tensor, earlier: Sequence[Tensor]) -> Tensor:
        """V'_n of V_n and [V_1, …, V_(n-1)], each (batch, heads, tokens, width / heads)."""
        return self.lambda_1 * earlier[0] + self.lambda_2 * own

    def lambdas(self) -> dict[str, Tensor]:
        """λ1 and λ2 of this layer, learned or not.

        Returns:
            ``lambda_1`` and ``lambda_2``: scalars.
        """
        return {"lambda_1": torch.as_tensor(self.lambda_1), "lambda_2": torch.as_tensor(self.lambda_2)}


class Shares(nn.Module):
    """The λ1 of all mixed layers: softmax shares of one learned sum, so that the layers compete for V_1 [ours]."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))
        self.total = nn.Parameter(torch.tensor(START * layers))

    def forward(self) -> Tensor:
        """The λ1 of each mixed layer, (layers,)."""
        return self.total * self.logits.softmax(dim=0)


class SharedMix(nn.Module):
    """V'_n = λ1 V_1 + λ2 V_n with a λ1 out of `Shares`, and a λ2 that this layer learns."""

    def __init__(self, shares: Shares, index: int) -> None:
        super().__init__()
        self.shares = shares if index == 0 else None  # the first mixed layer holds the weights for all
        self._shared, self._index = (shares,), index
        self.lambda_2 = nn.Parameter(torch.tensor(START))

    def forward(self, own: Tensor, earlier: Sequence[Tensor]) -> Tensor:
        """V'_n of V_n and [V_1, …, V_(n-1)], each (batch, heads, tokens, width / heads)."""
        return self.lambdas()["lambda_1"] * earlier[0] + self.lambda_2 * own

    def lambdas(self) -> dict[str, Tensor]:
        """λ1 and λ2 of this layer.

        Returns:
            ``lambda_1`` and ``lambda_2``: scalars.
        """
        return {"lambda_1": self._shared[0]()[self._index], "lambda_2": self.lambda_2}


class DenseMix(nn.Module):
    """V'_n = λ_nn V_n + Σ_(i<n) λ_ni V_i, every λ learned; they start as the mean of all values [ours]."""

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((layer,), 1 / layer))

    def forward(self, own: Tensor, earlier: Sequence[Tensor]) -> Tensor:
        """V'_n of V_n and [V_1, …, V_(n-1)], each (batch, heads, tokens, width / heads)."""
        mixed = self.weights[-1] * own
        for weight, value in zip(self.weights[:-1], earlier, strict=True):
            mixed = mixed + weight * value
        return mixed

    def lambdas(self) -> dict[str, Tensor]:
        """λ_ni of this layer n.

        Returns:
            ``lambda_i`` for i = 1..n: scalars.
        """
        return {f"lambda_{i}": weight for i, weight in enumerate(self.weights, 1)}


@architecture(
    paper="Zhou et al. 2024 (Value Residual), arXiv 2410.17897; learnable_plus, and where dense starts, are ours",
    claim="Values of the first layer, handed on, keep the tokens of deep layers apart and attention from concentrating",
)
def resformer(
    *,
    depth: int = 6,
    width: int = 64,
    heads: int = 4,
    vocab: int = 256,
    variant: Variant = "identity",
    lambda_1: Weights = "paper",
    lambda_2: Weights = "paper",
    layers: tuple[float, ...] | Literal["last_three"] = "last_three",
    causal: bool = True,
    head: Literal["lm", "classifier"] = "lm",
    classes: int = 10,
) -> ValueNetwork:
    """ResFormer: from the second layer on attention gets λ1 V_1 + λ2 V_n, values of the first layer and its own.

    Args:
        depth: blocks, of attention and MLP each.
        width: features of a token.
        heads: attention heads, a divisor of width.
        vocab: number of ids; 256 for bytes.
        variant: λ1 = λ2 = 0.5 (identity); both as given, in all layers (constant) or in some (sparse); both learned
            (learnable), or λ1 as a learned share of one learned sum (learnable_plus, ours); the values of all earlier
            layers, each with a learned λ (dense).
        lambda_1: weight of V_1, one for all layers that mix or one each; by the paper 2 if constant, 5 if sparse.
        lambda_2: weight of V_n, in the same way; by the paper 1.
        layers: the layers of the sparse variant that mix, from 2 on.
        causal: whether a token sees only itself and those before it.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Example:
        >>> model = resformer(depth=3, variant="learnable")
        >>> model.blocks[2].attention.mixer.mix.lambdas()["lambda_1"].item()
        0.5
    """
    sizes = {"depth": depth, "width": width, "heads": heads, "vocab": vocab, "classes": classes}
    mixed: Sequence[float] = range(2, depth + 1)
    if variant == "sparse":
        mixed = mixed[-3:] if layers == "last_three" else layers
    unused = layers != "last_three" and variant != "sparse"
    check_sizes(
        "resformer",
        sizes,
        "layers is an option of variant=sparse" if unused else "",
        _impossible(mixed, depth),
        _misfit("lambda_1", lambda_1, variant, len(mixed)),
        _misfit("lambda_2", lambda_2, variant, len(mixed)),
    )
    mixes = dict(zip(mixed, _mixes(variant, len(mixed), lambda_1, lambda_2), strict=True))
    blocks = [
        ValueBlock(ValueAttention(width, heads, causal=causal, mix=mixes.get(layer)), width)
        for layer in range(1, depth + 1)
    ]
    return ValueNetwork(blocks, width=width, vocab=vocab, head=head, classes=classes, last_norm=layer_norm(width))


def _impossible(mixed: Sequence[float], depth: int) -> str:
    """What is wrong with the layers that mix; empty where nothing is."""
    wrong = next((layer for layer in mixed if layer not in range(2, depth + 1) or mixed.count(layer) > 1), None)
    expected = f"layers from 2 to {depth}, each once: the first has none before it"
    return "" if wrong is None else f"layers holds {wrong:g}, expected {expected}"


def _misfit(name: str, given: Weights, variant: Variant, count: int) -> str:
    """What is wrong with one of the weights; empty where nothing is."""
    if given == "paper":
        return ""
    if variant not in {"constant", "sparse"}:
        return f"{name} is an option of variant=constant and variant=sparse"
    expected = "1" if count == 1 else f"1, or one for each of the {count} layers that mix"
    return "" if len(given) in {1, count} else f"{name} has {len(given)} values, expected {expected}"


def _mixes(variant: Variant, count: int, lambda_1: Weights, lambda_2: Weights) -> Iterator[nn.Module]:
    """What mixes the values of each layer that does, in their order."""
    if variant == "learnable_plus":
        shares = Shares(count)
        yield from (SharedMix(shares, index) for index in range(count))
    elif variant == "dense":
        yield from (DenseMix(layer) for layer in range(2, count + 2))
    else:
        given = zip(PAPER[variant], (lambda_1, lambda_2), strict=True)
        weights = [(best,) if typed == "paper" else typed for best, typed in given]
        for index in range(count):
            one, two = (each[index % len(each)] for each in weights)
            yield Mix(one, two, learned=variant == "learnable")
