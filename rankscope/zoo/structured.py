"""Structured transformations: maps of features are S x + c·φ(x), a shaped path and a correction (arXiv 2508.00127).

- two parallel branches, summed and trained jointly: S of one shape, φ a small MLP, c how much it counts
- the shapes, and where the maps stand, are ours: queries, keys, values and output of attention, and the map after it
- everything else is the pre-norm transformer; tokens are mixed by softmax attention
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torch.nn.utils import parametrizations

from rankscope.zoo import architecture
from rankscope.zoo._parts import MLP, Block, Network, check_sizes, layer_norm

if TYPE_CHECKING:
    from collections.abc import Callable


class Spectral(nn.Module):
    """W / max(1, ‖W‖₂ / gain): no singular value over the gain."""

    def __init__(self, width: int, gain: float) -> None:
        super().__init__()
        self.weight = gaussian(width, width)
        self.gain = gain

    def forward(self) -> Tensor:
        """S, (width, width)."""
        wide = torch.promote_types(self.weight.dtype, torch.float32)  # torch has no singular values of bfloat16
        return self.weight / torch.clamp(torch.linalg.matrix_norm(self.weight.to(wide), 2) / self.gain, min=1)


class Orthogonal(nn.Module):
    """SᵀS = I, through torch's own parametrization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.map: Any = parametrizations.orthogonal(nn.Linear(width, width, bias=False))  # torch says Module of it

    def forward(self) -> Tensor:
        """S, (width, width)."""
        shaped: Tensor = self.map.weight
        return shaped


class Antisymmetric(nn.Module):
    """(W − Wᵀ)/2 − γI: eigenvalues with real part −γ."""

    def __init__(self, width: int, damping: float) -> None:
        super().__init__()
        self.weight = gaussian(width, width)
        self.damping = damping

    def forward(self) -> Tensor:
        """S, (width, width)."""
        skew = (self.weight - self.weight.mT) / 2
        return skew - self.damping * torch.eye(len(skew), dtype=skew.dtype, device=skew.device)


class LowRank(nn.Module):
    """A B with A (width, rank) and B (rank, width)."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.into = gaussian(rank, width)
        self.out = gaussian(width, rank)

    def forward(self) -> Tensor:
        """S, (width, width)."""
        return self.out @ self.into


class Circulant(nn.Module):
    """S_ij = w_((i−j) mod width): a circular convolution over features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width).normal_(std=width**-0.5))

    def forward(self) -> Tensor:
        """S, (width, width)."""
        places = torch.arange(len(self.weight), device=self.weight.device)
        return self.weight[(places[:, None] - places) % len(places)]


def gaussian(outputs: int, inputs: int) -> nn.Parameter:
    """A weight of N(0, 1/inputs), which keeps the size of what it maps."""
    return nn.Parameter(torch.empty(outputs, inputs).normal_(std=inputs**-0.5))


class StructuredMap(nn.Module):
    """S x + c·φ(x); with c = 0 there is no φ.

    Args:
        path: gives S.
        width: features of x.
        correction: c.
        hidden: hidden units of φ.
    """

    def __init__(self, path: nn.Module, width: int, correction: float, hidden: int) -> None:
        super().__init__()
        self.path = path
        self.size = correction
        self.correction = MLP(width, hidden) if correction else None

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., width) to the same shape."""
        y = F.linear(x, self.path())
        return y if self.correction is None else y + self.size * self.correction(x)


class StructuredAttention(nn.Module):
    """Multi-head softmax attention whose four maps are structured."""

    def __init__(self, make: Callable[[], StructuredMap], heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.query, self.key, self.value, self.out = make(), make(), make(), make()

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens of x (batch, tokens, width)."""
        parts = [each(x).unflatten(-1, (self.heads, -1)) for each in (self.query, self.key, self.value)]
        q, k, v = (part.transpose(1, 2) for part in parts)  # (batch, heads, tokens, width / heads)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(-2))
        return y


@architecture(
    paper="Structured transformations, arXiv 2508.00127; the shapes and where they stand in the model are ours",
    claim="A shaped linear path beside a small correction: better conditioned gradients, less sensitive to noise",
)
def structured(
    *,
    depth: int = 6,
    width: int = 64,
    heads: int = 4,
    vocab: int = 256,
    shape: Literal["spectral", "orthogonal", "antisymmetric", "low_rank", "circulant"] = "spectral",
    correction: float = 0.1,
    hidden: int = 16,
    gain: float = 1.0,
    damping: float = 0.1,
    rank: int = 8,
    skip: bool = True,
    causal: bool = True,
    head: Literal["lm", "classifier"] = "lm",
    classes: int = 10,
) -> Network:
    """Transformer whose maps of features are S x + c·φ(x): S of one shape, φ a small MLP trained beside it.

    Args:
        depth: blocks, of attention and of one map after it.
        width: features of a token.
        heads: attention heads, a divisor of width.
        vocab: number of ids; 256 for bytes.
        shape: of S: no singular value over `gain` (spectral), SᵀS = I (orthogonal), (W − Wᵀ)/2 − γI (antisymmetric),
            of a small rank (low_rank), a circular convolution over features (circulant).
        correction: c, the factor of φ; 0 leaves φ out.
        hidden: hidden units of φ.
        gain: most that the spectral shape lets any vector grow.
        damping: γ of the antisymmetric shape.
        rank: rank of the low-rank shape.
        skip: whether what enters attention, and the map, is added to what they give.
        causal: whether a token sees only itself and those before it.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Example:
        >>> path = structured(depth=1, shape="orthogonal").blocks[0].map.mixer.path()
        >>> torch.allclose(path.mT @ path, torch.eye(64), atol=1e-5)
        True
    """
    sizes = {"depth": depth, "width": width, "heads": heads, "vocab": vocab, "classes": classes}
    too_high = f"rank is {rank}, expected at most width, {width}" if rank > width else ""
    no_gain = "" if gain > 0 else f"gain is {gain:g}, expected more than 0"
    check_sizes("structured", sizes | {"hidden": hidden, "rank": rank}, too_high, no_gain)
    paths: dict[str, Callable[[], nn.Module]] = {
        "spectral": lambda: Spectral(width, gain),
        "orthogonal": lambda: Orthogonal(width),
        "antisymmetric": lambda: Antisymmetric(width, damping),
        "low_rank": lambda: LowRank(width, rank),
        "circulant": lambda: Circulant(width),
    }

    def make() -> StructuredMap:
        return StructuredMap(paths[shape](), width, correction, hidden)

    blocks = []
    for _ in range(depth):
        mixers: dict[str, nn.Module] = {"attention": StructuredAttention(make, heads, causal=causal), "map": make()}
        blocks.append(Block(mixers, width, "pre", skip=skip))
    return Network(blocks, width=width, vocab=vocab, head=head, classes=classes, last_norm=layer_norm(width))
