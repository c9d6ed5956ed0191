"""What several architectures share: positions, norms, attention, the MLP, blocks of sublayers, the model around them.

No bias anywhere; linear maps start with N(0, 1/inputs), so that they keep the size of what they map.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from rankscope.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Norm = Literal["pre", "post", "none"]
Head = Literal["lm", "classifier"]


@dataclass(frozen=True, slots=True)
class Mixing:
    """How a mixer mixes the tokens Y that it is given: F(Y) = Σ_g M_g Y C_g, a sum over groups g (heads).

    A mixer of this form has a method ``mixing(x) -> Mixing``; whoever asks whether it has needs no class of ours.

    Args:
        matrices: M_g(Y): (batch, groups, tokens, tokens), row i what token i takes from each token.
        values: C_g: (groups, width, width), applied from the right; None where group g mixes its own
            width/groups features alone, and leaves them as they are.
    """

    matrices: Tensor
    values: Tensor | None = None

    def apply(self, x: Tensor) -> Tensor:
        """What the mixer gives, by the formula.

        Args:
            x: (batch, tokens, width), that of `mixing`.

        Returns:
            The same shape.

        Example:
            >>> x = torch.eye(2)[None]
            >>> Mixing(torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])).apply(x)
            tensor([[[1.0000, 0.0000],
                     [0.5000, 0.5000]]])
        """
        if self.values is not None:
            return torch.einsum("bgij,bjc,gcd->bid", self.matrices, x, self.values)
        parts = x.reshape(*x.shape[:2], self.matrices.shape[1], -1)  # (batch, tokens, groups, width / groups)
        return torch.einsum("bgij,bjgc->bigc", self.matrices, parts).flatten(-2)


def check_sizes(name: str, sizes: Mapping[str, int], *misfits: str) -> None:
    """Refuse what cannot be built, before anything is.

    Args:
        name: the architecture.
        sizes: option to value: all at least 1, and `heads`, if there, a divisor of `width`.
        misfits: what else is wrong; empty texts where nothing is.

    Raises:
        UsageError: with the first thing that is wrong.

    Example:
        >>> check_sizes("transformer", {"width": 64, "heads": 4})
    """
    wrong = [f"{option} is {size}, expected at least 1" for option, size in sizes.items() if size < 1]
    if not wrong and sizes["width"] % sizes.get("heads", 1):
        wrong = [f"width is {sizes['width']}, expected a multiple of heads, {sizes['heads']}"]
    wrong += filter(None, misfits)
    if wrong:
        raise UsageError("RS352", f"{name} was not built: {wrong[0]}", remedies=_next(name, sizes))


def _next(name: str, sizes: Mapping[str, int]) -> list[tuple[str, str]]:
    width, heads = sizes["width"], sizes.get("heads", 1)
    fit = sorted((n for n in range(1, width + 1) if width % n == 0), key=lambda n: abs(n - heads))[:2]
    near = ("Heads that divide the width", " or ".join(f"heads={n}" for n in sorted(fit)))
    return [*([near] if fit and heads not in fit else []), ("What each option takes", f"rankscope zoo {name}")]


def few_hidden(ratio: float, width: int) -> str:
    """What is wrong with the size of an MLP; empty where nothing is."""
    return "" if int(ratio * width) >= 1 else f"ratio is {ratio:g}, expected at least 1/width, one hidden unit"


def not_one_a_block(option: str, values: Sequence[object], depth: int) -> str:
    """What is wrong with the length of a list of one value for all blocks, or one a block; empty where nothing is."""
    expected = "1" if depth == 1 else f"1, or one for each of the {depth} blocks"
    return "" if len(values) in {1, depth} else f"{option} has {len(values)} values, expected {expected}"


def positions(tokens: int, width: int, device: torch.device) -> Tensor:
    """Sinusoidal positions (arXiv 1706.03762, §3.5), the sines in the first half of the features.

    Args:
        tokens: how many.
        width: features of one.
        device: where they are wanted.

    Returns:
        (tokens, width), values in [−1, 1].

    Example:
        >>> positions(2, 4, torch.device("cpu"))[0]
        tensor([0., 0., 1., 1.])
    """
    half = (width + 1) // 2
    rate = torch.exp(torch.arange(half, device=device) * (-math.log(10_000.0) / half))  # (half,)
    angle = torch.arange(tokens, device=device)[:, None] * rate  # (tokens, half)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)[:, :width]


class RowNorm(nn.Module):
    """Every token scaled to unit length, D = diag(1/‖row‖): no centring, no affine (arXiv 2410.10609)."""

    def forward(self, x: Tensor) -> Tensor:
        """Scale the rows of x (..., tokens, width) to norm 1; a zero row stays zero."""
        return F.normalize(x, dim=-1, eps=torch.finfo(x.dtype).tiny)


layer_norm = partial(nn.LayerNorm, bias=False)
NORM: dict[Norm, Callable[[int], nn.Module]] = {"pre": layer_norm, "post": layer_norm, "none": nn.Identity}
LAST_NORM: dict[Norm, Callable[[int], nn.Module]] = {"pre": layer_norm, "post": nn.Identity, "none": nn.Identity}


class Heads(nn.Module):
    """The four maps of multi-head softmax attention (arXiv 1706.03762, §3.2), and what is made of them."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x (batch, tokens, width), each (batch, heads, tokens, width / heads)."""
        parts = [linear(x).unflatten(-1, (self.heads, -1)) for linear in (self.query, self.key, self.value)]
        q, k, v = (part.transpose(1, 2) for part in parts)
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Mixed values through the output map: (batch, heads, tokens, width / heads) to (batch, tokens, width)."""
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(-2))
        return y

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """softmax(Q_g K_gᵀ / √(width/heads)), the matrices (batch, heads, tokens, tokens) that `attend` mixes by."""
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        if self.causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        return scores.softmax(dim=-1)


class Attention(Heads):
    """Multi-head attention; C_V of the λ-skip paper is value and out together."""

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens of x (batch, tokens, width)."""
        return self.attend(*self.project(x))

    def mixing(self, x: Tensor) -> Mixing:
        """M_g the weights of head g, C_g = W_V,g W_O,g.

        Args:
            x: (batch, tokens, width).

        Returns:
            One group a head.
        """
        return Mixing(self.weights(*self.project(x)[:2]), value_maps(self.value, self.out, self.heads))


def value_maps(value: nn.Linear, out: nn.Linear, heads: int) -> Tensor:
    """C_g of every head, (heads, width, width): its rows of the value map, then its columns of the output map."""
    width = value.in_features
    into, from_ = value.weight.reshape(heads, -1, width), out.weight.reshape(width, heads, -1)
    return torch.einsum("hdc,ehd->hce", into, from_)


class MLP(nn.Sequential):
    """Two linear maps with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=False)
        self.act = nn.GELU()
        self.down = nn.Linear(hidden, width, bias=False)


class Sublayer(nn.Module):
    """A mixer, its skip and its norm: ``x + mixer(norm(x))`` with a pre-norm, else ``norm(x + mixer(x))``."""

    def __init__(self, mixer: nn.Module, norm: nn.Module, *, pre: bool, skip: bool = True) -> None:
        super().__init__()
        self.mixer = mixer
        self.norm = norm
        self.pre = pre
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """Mix, add the skip, normalise.

        Args:
            x: (batch, tokens, width).

        Returns:
            The same shape.
        """
        f: Tensor = self.mixer(self.norm(x) if self.pre else x)
        y = x + f if self.skip else f
        return y if self.pre else self.norm(y)


class Block(nn.Sequential):
    """Sublayers, one after the other, by name."""

    def __init__(self, mixers: Mapping[str, nn.Module], width: int, norm: Norm, *, skip: bool = True) -> None:
        made = {n: Sublayer(mixer, NORM[norm](width), pre=norm == "pre", skip=skip) for n, mixer in mixers.items()}
        super().__init__(OrderedDict(made))


class Network(nn.Module):
    """Embedding and positions, `blocks`, head: of a language model, or of a classifier of the mean token.

    Args:
        blocks: modules from (batch, tokens, width) to the same.
        width: features of a token.
        vocab: number of ids.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.
        first_norm: of what enters the first block.
        last_norm: of what leaves the last block.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        *,
        width: int,
        vocab: int,
        head: Head,
        classes: int,
        first_norm: nn.Module | None = None,
        last_norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.first_norm = first_norm or nn.Identity()
        self.blocks = nn.ModuleList(blocks)
        self.last_norm = last_norm or nn.Identity()
        self.head = nn.Linear(width, vocab if head == "lm" else classes, bias=False)
        self.pool = head == "classifier"
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits.

        Args:
            ids: (batch, tokens), from 0 to vocab - 1.

        Returns:
            (batch, tokens, vocab); (batch, classes) of a classifier.
        """
        x = self.embedding(ids)  # (batch, tokens, width)
        x = self.through(self.first_norm(x + positions(x.shape[1], x.shape[2], x.device).to(x.dtype)))
        x = self.last_norm(x)
        logits: Tensor = self.head(x.mean(dim=1) if self.pool else x)
        return logits

    def through(self, x: Tensor) -> Tensor:
        """Through the blocks; an architecture whose blocks share more than x has its own.

        Args:
            x: (batch, tokens, width).

        Returns:
            The same shape.
        """
        for block in self.blocks:
            x = block(x)
        return x
