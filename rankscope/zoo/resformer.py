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
START = 0.5  # of what is learned; the share of either value in identity ResFormer
LAMBDA_1, LAMBDA_2 = 2.0, 1.0  # the best constants of the paper
LAST_THREE = (-3.0, -2.0, -1.0)  # layers 6 to 8 of 8, the best sparse choice of the paper


class Mix(nn.Module):
    """V'_n = λ1 V_1 + λ2 V_n with fixed λ1 and λ2."""

    def __init__(self, lambda_1: float | Tensor, lambda_2: float | Tensor) -> None:
        super().__init__()
        self.lambda_1, self.lambda_2 = lambda_1, lambda_2

    def forward(self, own: Tensor, earlier: Sequence[Tensor]) -> Tensor:
        """Mix.

        Args:
            own: V_n, (batch, heads, tokens, width / heads).
            earlier: V_1 to V_(n-1), each of that shape.

        Returns:
            V'_n, of the same shape.
        """
        return self.lambda_1 * earlier[0] + self.lambda_2 * own

    def lambdas(self) -> dict[str, Tensor]:
        """What is learned of the mix, by name.

        Returns:
            Scalars; empty here.
        """
        return {}


class LearnedMix(Mix):
    """The same with a λ1 and a λ2 that this layer learns."""

    def __init__(self) -> None:
        super().__init__(nn.Parameter(torch.tensor(START)), nn.Parameter(torch.tensor(START)))

    def lambdas(self) -> dict[str, Tensor]:
        """What is learned of the mix, by name.

        Returns:
            Scalars.
        """
        return {"lambda_1": torch.as_tensor(self.lambda_1), "lambda_2": torch.as_tensor(self.lambda_2)}


class Shares(nn.Module):
    """The λ1 of all mixed layers: softmax shares of one learned sum, so that layers compete for V_1."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))
        self.total = nn.Parameter(torch.tensor(START * layers))

    def forward(self) -> Tensor:
        """Share out.

        Returns:
            λ1 of each mixed layer, (layers,).
        """
        return self.total * self.logits.softmax(dim=0)


class SharedMix(nn.Module):
    """V'_n = λ1 V_1 + λ2 V_n with a λ1 out of `Shares` and a λ2 that this layer learns."""

    def __init__(self, shares: Shares, index: int) -> None:
        super().__init__()
        self._shares = (shares,)  # in a tuple, for its weights are those of the network
        self._index = index
        self.lambda_2 = nn.Parameter(torch.tensor(START))

    def forward(self, own: Tensor, earlier: Sequence[Tensor]) -> Tensor:
        """Mix.

        Args:
            own: V_n, (batch, heads, tokens, width / heads).
            earlier: V_1 to V_(n-1), each of that shape.

        Returns:
            V'_n, of the same shape.
        """
        return self.lambdas()["lambda_1"] * earlier[0] + self.lambda_2 * own

    def lambdas(self) -> dict[str, Tensor]:
        """What is learned of the mix, by name.

        Returns:
            Scalars.
        """
        return {"lambda_1": self._shares[0]()[self._index], "lambda_2": self.lambda_2}


class DenseMix(nn.Module):
    """V'_n = λ_nn V_n + Σ_(i<n) λ_ni V_i, every λ learned; they start as the mean of all values."""

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((layer,), 1 / layer))

    def forward(self, own: Tensor, earlier: Sequence[Tensor]) -> Tensor:
        """Mix.

        Args:
            own: V_n, (batch, heads, tokens, width / heads).
            earlier: V_1 to V_(n-1), each of that shape.

        Returns:
            V'_n, of the same shape.
        """
        mixed = self.weights[-1] * own
        for weight, value in zip(self.weights[:-1], earlier, strict=True):
            mixed = mixed + weight * value
        return mixed

    def lambdas(self) -> dict[str, Tensor]:
        """What is learned of the mix, by name: λ_ni as lambda_i.

        Returns:
            Scalars.
        """
        return {f"lambda_{i}": weight for i, weight in enumerate(self.weights, 1)}


class MixedAttention(ValueAttention):
    """Attention over values that `mix` makes of the layer's own and of those before."""

    def __init__(self, width: int, heads: int, *, causal: bool, mix: nn.Module) -> None:
        super().__init__(width, heads, causal=causal)
        self.mix = mix

    def forward(self, x: Tensor, earlier: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Mix tokens.

        Args:
            x: (batch, tokens, width).
            earlier: V_1 to V_(n-1), each (batch, heads, tokens, width / heads).

        Returns:
            The mixed tokens, of the shape of x; V_n, of that of the earlier ones.
        """
        q, k, v = self.project(x)
        return self.attend(q, k, self.mix(v, earlier)), v


def _mixes(variant: Variant, depth: int, lambda_1: float, lambda_2: float, chosen: set[int]) -> Iterator[Mix | None]:
    """What mixes the values of each layer; None where they are left as they are."""
