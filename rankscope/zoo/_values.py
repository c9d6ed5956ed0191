"""What architectures share whose attention gets the values of earlier layers: each block hands its values on.

Pre-norm blocks of attention and MLP; their weights have the names of those of the transformer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from rankscope.zoo._parts import MLP, Heads, Network, Sublayer, layer_norm

if TYPE_CHECKING:
    from collections.abc import Sequence


class ValueAttention(Heads):
    """Attention that sees the values of earlier layers, and hands on its own.

    Args:
        width: features of a token.
        heads: a divisor of width.
        causal: whether a token sees only itself and those before it.
        mix: makes what attention gets of (V_n, [V_1, …, V_(n-1)]); None for V_n as it is.
    """

    def __init__(self, width: int, heads: int, *, causal: bool, mix: nn.Module | None = None) -> None:
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
        return self.attend(q, k, v if self.mix is None else self.mix(v, earlier)), v


class ValueSublayer(nn.Module):
    """Attention, its skip and its pre-norm."""

    def __init__(self, mixer: nn.Module, width: int) -> None:
        super().__init__()
        self.mixer = mixer
        self.norm = layer_norm(width)

    def forward(self, x: Tensor, earlier: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Normalise, mix, add the skip; arguments and result as those of `ValueAttention`.

        Args:
            x: (batch, tokens, width).
            earlier: V_1 to V_(n-1).

        Returns:
            The sum, and V_n.
        """
        f, own = self.mixer(self.norm(x), earlier)
        return x + f, own


class ValueBlock(nn.Module):
    """Attention with values of earlier layers, then the MLP."""

    def __init__(self, attention: nn.Module, width: int) -> None:
        super().__init__()
        self.attention = ValueSublayer(attention, width)
        self.mlp = Sublayer(MLP(width, 4 * width), layer_norm(width), pre=True)

    def forward(self, x: Tensor, earlier: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Run both; arguments and result as those of `ValueAttention`.

        Args:
            x: (batch, tokens, width).
            earlier: V_1 to V_(n-1).

        Returns:
            The stream, and V_n.
        """
        x, own = self.attention(x, earlier)
        return self.mlp(x), own


class ValueNetwork(Network):
    """A network whose blocks are `ValueBlock`."""

    def through(self, x: Tensor) -> Tensor:
        """Through the blocks, each with the values of all before it.

        Args:
            x: (batch, tokens, width).

        Returns:
            The same shape.
        """
        values: list[Tensor] = []
        for block in self.blocks:
            x, own = cast("ValueBlock", block)(x, values)
            values.append(own)
        return x
