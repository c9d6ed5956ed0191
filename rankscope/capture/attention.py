"""Attention: which calls of a traced forward pass are the attention of which layer, and where its values are.

V_n = H_{n-1} W^V, the values that enter attention at layer n, and the maps A_n that mix them. A call is self-attention
when its values, or its keys, are made of the stream of the block; the origins of the trace tell, not names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rankscope.capture.blocks import streams
from rankscope.capture.flow import PRODUCTS
from rankscope.capture.layout import Unmeasurable
from rankscope.capture.orders import axes_fit, value_order
from rankscope.capture.places import AttentionPlace, Place, ValuePlace
from rankscope.capture.projections import fused, values_without_attention

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from rankscope.capture.flow import Attending, Call, Steps
    from rankscope.capture.layout import Axes
    from rankscope.capture.trace import Trace
    from rankscope.records import Layer

NO_ATTENTION = "no attention call was seen in this block"
NONE_BEFORE = "no attention call was seen before this block"  # where a block is what follows its branch
WINDOWS = "its attention runs over windows, chunks, channels or pooled tokens: not those of the block"
CROSS = "its attention is cross-attention only"
SHARED = "its keys and values are those of an earlier layer"
UNTOLD = "its values are mixed with those of earlier layers in a way in which its own cannot be told"
Key = tuple["Steps", int]
Kind = Literal["self", "cross", "shared", "first", "mixed"]


@dataclass(slots=True)
class Attention:
    """The values and maps of all layers, or the reasons why there are none; keys as in `places.Plan`."""

    values: dict[Key, ValuePlace] = field(default_factory=dict)
    no_values: dict[tuple[str, int], str] = field(default_factory=dict)
    attention: dict[Key, AttentionPlace] = field(default_factory=dict)
    no_attention: dict[tuple[str, int], str] = field(default_factory=dict)
    modules: tuple[Place, ...] = ()


def attention(trace: Trace, blocks: Mapping[Call, Layer], *, chosen: bool = False) -> Attention:
    """Find the attention of each block.

    Args:
        trace: a finished trace.
        blocks: the calls that are blocks, and their layers.
        chosen: whether the user named them: then only what runs inside them is theirs.

    Returns:
        What was found of values and maps.
    """
    finder = _Finder(trace, blocks, chosen=chosen)
    for block in blocks:
        finder.look(block)
    return finder.found


class _Finder:
    """Goes through the blocks of a trace and notes the attention of each."""

    def __init__(self, trace: Trace, blocks: Mapping[Call, Layer], *, chosen: bool) -> None:
        self.trace, self.blocks, self.found = trace, blocks, Attention()
        # else each block is a residual module that follows its attention
        self.nested = chosen or any(site.call.inside(blocks) for site in trace.attention)
        self.none = NO_ATTENTION if self.nested or not trace.attention else NONE_BEFORE
        self.sites: dict[Call | None, list[Attending]] = {}
        for site in trace.attention:
            self.sites.setdefault(self._block(site), []).append(site)

    def _block(self, site: Attending) -> Call | None:
        if self.nested:
            return site.call.inside(self.blocks)
        later = (block for block in self.blocks if block.number > site.call.number)
        return min(later, key=lambda block: block.number, default=None)

    def look(self, block: Call) -> None:
        """Note the attention of one block."""
        layer, kinds = self.blocks[block], {site: self._kind(block, site) for site in self.sites.get(block, ())}
        own = [site for site, kind in kinds.items() if kind != "cross"]
        cross = [site for site, kind in kinds.items() if kind == "cross"]
        if len(cross) == 1:
            self.found.attention[cross[0].steps, cross[0].hit] = AttentionPlace(layer, "cross", _how(cross[0]))
        if own[1:]:
            why = f"{len(own)} attention calls in one block"
        else:
            why = WINDOWS if own else CROSS if cross else self.none
        one = own[0] if len(own) == 1 and axes_fit(own[0].shape, block.shape, own[0].equation) else None
        if one:
            self.found.attention[one.steps, one.hit] = AttentionPlace(layer, "self", _how(one))
        else:
            self.found.no_attention[layer.stack, layer.index] = why
        kind = kinds[own[0]] if len(own) == 1 else "self"
        untold = SHARED if kind == "shared" else UNTOLD if kind == "mixed" and own[0].own is None else None
        if untold or not self._values(block, one, mixed=kind == "mixed"):
            hidden = fused(self.trace, block) if why == self.none else ""
            self.found.no_values[layer.stack, layer.index] = untold or why + hidden

    def _kind(self, block: Call, site: Attending) -> Kind:
        """Self or cross; `mixed`: a sum with earlier values; `first`: earlier values, `shared`: keys as well."""
        stream = streams(block, self.trace.sums)
        born = block.born if self.nested else stream.bit_length()
        values, keys = self.trace.roots(site.near, born), self.trace.roots(site.keys, born)
        earlier = values & self.trace.valued & ~stream
        if values & stream:
            return "mixed" if earlier else "self"
        if not earlier:
            return "cross"
        return "first" if keys & stream else "shared"

    def _values(self, block: Call, site: Attending | None, *, mixed: bool) -> bool:
        """Note the values of the one self-attention call of a block, else those that a projection gives."""
        layer = self.blocks[block]
        if site is not None:
            order, own = value_order(site.equation), site.own if mixed else None
            place = ValuePlace(layer, site.repeated, _how(site), site.operand, order, own, site.operation)
            self.found.values[site.steps, site.hit] = place
            return True
        projected = values_without_attention(self.trace, block, layer)
        if projected is None and not self.nested:
            since = max((other.last for other in self.blocks if other.last <= block.number), default=0)
            projected = values_without_attention(self.trace, block, layer, since)
        if projected is None:
            return False
        key, place, module = projected
        self.found.values[key] = place
        self.found.modules += (module,) if module else ()
        return True


def _how(site: Attending) -> str:
    return f"softmax · {site.operation.strip('_')}" if site.operation in PRODUCTS else site.operation


def arrange_values(values: Tensor, repeated: torch.Size | None, where: Axes, tokens: int | None) -> Tensor:
    """Bring values into the shape (batch, heads, tokens, width).

    Heads that were repeated for grouped queries are taken once, so that each key-value head counts as it is. Rows of
    zeros beyond the tokens of the block, by which a model fills up its last chunk, are left out.

    Args:
        values: (batch, heads, tokens, width), (batch · heads, tokens, width), (batch, tokens, width) or
            (batch · tokens, width).
        repeated: the shape before heads were repeated, or None.
        where: the axes of the batch.
        tokens: the tokens of the block's own output, where known.

    Returns:
        Values of shape (batch, heads, tokens, width); one head where no axis of heads is known.

    Raises:
        Unmeasurable: the tokens of the values are not those of the block.

    Example:
        >>> import torch
        >>> from rankscope.capture.layout import Axes
        >>> arrange_values(torch.zeros(8, 16, 8), None, Axes(2, 16, "btd"), 16).shape
        torch.Size([2, 4, 16, 8])
    """
    if values.is_nested:
        raise Unmeasurable("its values are a nested tensor")
    shape = tuple(values.shape)
    if values.ndim == 2 and tokens and shape[0] == where.batch * tokens:
        values = values.reshape(where.batch, tokens, -1)
    if values.ndim == 3 and shape[0] != where.batch and where.batch and shape[0] % where.batch == 0:
        values = values.reshape(where.batch, -1, *shape[1:])
    if values.ndim == 3:
        values = values.unsqueeze(1)
    if values.ndim == 4 and tokens and values.shape[2] > tokens and _filled_up(values, tokens):
        values = values[:, :, :tokens]
    if values.ndim != 4 or values.shape[0] != where.batch or (tokens is not None and values.shape[2] != tokens):
        raise Unmeasurable(f"its values have shape {shape}: their tokens are not those of the block")
    return values if repeated is None else _once(values, repeated)


def _once(values: Tensor, repeated: torch.Size) -> Tensor:
    """Key-value heads taken once: they were repeated one by one, or all of them in turn."""
    batch, heads = values.shape[:2]  # the shape is that of the trace, of which only the heads hold for every batch
    if len(repeated) == 4 and repeated[1] == 1:
        return values[:, :1]
    if len(repeated) == 5 and repeated[2] == 1 and heads % repeated[1] == 0:
        return values.reshape(batch, repeated[1], -1, *values.shape[2:])[:, :, 0]
    if len(repeated) == 5 and repeated[1] == 1 and heads % repeated[2] == 0:
        return values.reshape(batch, -1, repeated[2], *values.shape[2:])[:, 0]
    return values


def _filled_up(values: Tensor, tokens: int) -> bool:
    return bool(values[:, :, tokens - 1].any()) and not bool(values[:, :, tokens:].any())
