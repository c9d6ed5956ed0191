"""Transformer over bytes or other ids: a language model or a classifier.

- sinusoidal positions: nothing learned, any length
- norm before the mixer (pre), after the skip (post), rows scaled to unit length after the skip (row), or none
- skip ``lam * x + f``: λ the same in all blocks or one a block; or no skip
- attention through F.scaled_dot_product_attention, causal or not; with an MLP or alone
- no bias anywhere; linear maps start with N(0, 1/inputs), so that they keep the size of what they map
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from rankscope.errors import UsageError
from rankscope.zoo import architecture

if TYPE_CHECKING:
    from collections.abc import Callable

Norm = Literal["pre", "post", "row", "none"]


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
        """Scale.

        Args:
            x: (..., tokens, width).

        Returns:
            The same shape, rows of norm 1; a zero row stays zero.
        """
        return F.normalize(x, dim=-1, eps=torch.finfo(x.dtype).tiny)


layer_norm = partial(nn.LayerNorm, bias=False)
NORM: dict[Norm, Callable[[int], nn.Module]] = {
    "pre": layer_norm,
    "post": layer_norm,
    "row": lambda width: RowNorm(),  # noqa: ARG005 - it has no weights
    "none": nn.Identity,
}
# A head sees too little in rows of length 1, and learning then turns all tokens into the one direction that makes up
# for it: 24 blocks with λ = 4 had collapsed after 300 steps without this RMSNorm, and with it they had not.
LAST_NORM: dict[Norm, Callable[[int], nn.Module]] = {
    "pre": layer_norm,
    "post": nn.Identity,
    "row": nn.RMSNorm,
    "none": nn.Identity,
}


class Attention(nn.Module):
    """Multi-head softmax attention (arXiv 1706.03762, §3.2); C_V of the λ-skip paper is value and out together."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens.

        Args:
            x: (batch, tokens, width).

        Returns:
            The same shape.
        """
        parts = [linear(x).unflatten(-1, (self.heads, -1)) for linear in (self.query, self.key, self.value)]
        q, k, v = (part.transpose(1, 2) for part in parts)  # (batch, heads, tokens, width / heads)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(-2))  # (batch, tokens, width)
        return y


class MLP(nn.Sequential):
    """Two linear maps with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=False)
        self.act = nn.GELU()
        self.down = nn.Linear(hidden, width, bias=False)


class Sublayer(nn.Module):
    """A mixer, its skip and its norm: ``lam * x + mixer(norm(x))`` with a pre-norm, else ``norm(lam * x + mixer(x))``.

    Without a skip `lam` is None.
    """

    def __init__(self, mixer: nn.Module, norm: nn.Module, *, pre: bool, lam: float | None) -> None:
        super().__init__()
        self.mixer = mixer
        self.norm = norm
        self.pre = pre
        self.lam = lam

    def forward(self, x: Tensor) -> Tensor:
        """Mix, add the skip, normalise.

        Args:
            x: (batch, tokens, width).

        Returns:
            The same shape.
        """
        f: Tensor = self.mixer(self.norm(x) if self.pre else x)
        y: Tensor = f if self.lam is None else self.lam * x + f
        return y if self.pre else self.norm(y)


class Block(nn.Sequential):
    """Attention, then the MLP where there is one."""


class Transformer(nn.Module):
    """Embedding and positions, `blocks`, head; `pool` takes the mean token to the head."""

    def __init__(self, blocks: list[Block], norm: Norm, *, width: int, vocab: int, outputs: int, pool: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.first_norm = RowNorm() if norm == "row" else nn.Identity()  # the λ-skip theorem starts from unit rows
        self.blocks = nn.ModuleList(blocks)
        self.last_norm = LAST_NORM[norm](width)
        self.head = nn.Linear(width, outputs, bias=False)
        self.pool = pool
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits.

        Args:
            ids: (batch, tokens), from 0 to vocab - 1.

        Returns:
            (batch, tokens, outputs); (batch, outputs) where the mean token is taken.
        """
        x = self.embedding(ids)  # (batch, tokens, width)
        x = self.first_norm(x + positions(x.shape[1], x.shape[2], x.device).to(x.dtype))
        for block in self.blocks:
            x = block(x)
        x = self.last_norm(x)
        logits: Tensor = self.head(x.mean(dim=1) if self.pool else x)
        return logits


def _misfit(sizes: dict[str, int], ratio: float, lam: tuple[float, ...], *, skip: bool) -> str:
    """What cannot be built of these options; empty where all can."""
    for name, size in sizes.items():
        if size < 1:
            return f"{name} is {size}, expected at least 1"
    if sizes["width"] % sizes["heads"]:
        return f"width is {sizes['width']}, expected a multiple of heads, {sizes['heads']}"
    if int(ratio * sizes["width"]) < 1:
        return f"ratio is {ratio:g}, expected at least 1/width, one hidden unit"
    if len(lam) not in {1, sizes["depth"]}:
        return f"lam has {len(lam)} values, expected 1, or one for each of the {sizes['depth']} blocks"
    if not skip and lam != (1.0,):
        return "lam is the factor of the skip, and skip=off leaves the skip out"
    return ""


@architecture(
    paper="Vaswani et al. 2017, arXiv 1706.03762; λ and row norm: arXiv 2410.10609",
    claim="Attention alone draws the tokens together as depth grows, skips resist (Dong et al. 2021, arXiv 2103.03404)",
)
def transformer(
    *,
    depth: int = 6,
    width: int = 64,
    heads: int = 4,
    vocab: int = 256,
    norm: Norm = "pre",
    skip: bool = True,
    lam: tuple[float, ...] = (1.0,),
    mlp: bool = True,
    ratio: float = 4.0,
    causal: bool = True,
    head: Literal["lm", "classifier"] = "lm",
    classes: int = 10,
) -> Transformer:
    """Transformer over ids; with ``norm=row,mlp=off`` its layers are Y(k+1) = D(k)(M(k) Y(k) C_V(k) + λ Y(k)).

    Args:
        depth: blocks.
        width: features of a token.
        heads: attention heads, a divisor of width.
        vocab: number of ids; 256 for bytes.
        norm: LayerNorm before the mixer (pre) or after the skip (post); rows scaled to unit length after the skip
            (row); or none.
        skip: whether the input of a mixer is added to its output.
        lam: λ, the factor of the skip: one value for all blocks, or one a block.
        mlp: whether an MLP follows the attention.
        ratio: hidden units of the MLP over width.
        causal: whether a token sees only itself and those before it.
        head: logits of the next id at every token (lm), or of a class from the mean token (classifier).
        classes: outputs of the classifier.

    Returns:
        The model: ids (batch, tokens) to logits.

    Raises:
        UsageError: the sizes do not fit together.

    Example:
        >>> transformer(depth=2, norm="row", lam=(4.0,))(torch.zeros(1, 5, dtype=torch.long)).shape
        torch.Size([1, 5, 256])
    """
    sizes = {"depth": depth, "width": width, "heads": heads, "vocab": vocab, "classes": classes}
    if wrong := _misfit(sizes, ratio, lam, skip=skip):
        raise UsageError("RS352", f"transformer was not built: {wrong}")

    def sublayer(mixer: nn.Module, scale: float) -> Sublayer:
        return Sublayer(mixer, NORM[norm](width), pre=norm == "pre", lam=scale if skip else None)

    blocks: list[Block] = []
    for scale in lam * (depth // len(lam)):
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            attention=sublayer(Attention(width, heads, causal=causal), scale)
        )
        if mlp:
            parts["mlp"] = sublayer(MLP(width, int(ratio * width)), scale)
        blocks.append(Block(parts))
    outputs = vocab if head == "lm" else classes
    return Transformer(blocks, norm, width=width, vocab=vocab, outputs=outputs, pool=head == "classifier")
