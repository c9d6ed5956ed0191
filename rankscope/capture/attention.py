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
WINDOWS = "its attention runs over windows, chunks or pooled tokens, which are not those of the block"
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


def attention(trace: Trace, blocks: Mapping[Call, Layer]) -> Attention:
    """Find the attention of each block.

    Args:
        trace: a finished trace.
        blocks: the calls that are blocks, and their layers.

    Returns:
        What was found of values and maps.
    """
    nested = any(site.call.inside(blocks) for site in trace.attention)
    sites: dict[Call, list[Attending]] = {block: [] for block in blocks}
    for site in trace.attention:
        if nested:
            block = site.call.inside(blocks)
        else:  # each block is a residual module that follows its attention
            block = min((c for c in blocks if c.number > site.call.number), key=lambda c: c.number, default=None)
        if block is not None:
            sites[block].append(site)
    found = Attention()
    for block, layer in blocks.items():
        kinds = {site: _kind(trace, block, site, nested=nested) for site in sites[block]}
        own = [site for site, kind in kinds.items() if kind != "cross"]
        cross = [site for site, kind in kinds.items() if kind == "cross"]
        none = CROSS if cross else NO_ATTENTION + fused(trace, block)
        _maps(found, layer, own, block, none)
        _values(found, layer, own, block, kinds, trace, none)
        if len(cross) == 1:
            found.attention[cross[0].steps, cross[0].hit] = AttentionPlace(layer, "cross", _how(cross[0]))
    return found


def _kind(trace: Trace, block: Call, site: Attending, *, nested: bool) -> Kind:
    """Self or cross; `mixed`: a sum with earlier values; `first`: its values, `shared`: also its keys, are earlier."""
    stream = streams(block, trace.sums)
    born = block.born if nested else stream.bit_length()
    values, keys = trace.roots(site.near, born), trace.roots(site.keys, born)
    earlier = values & trace.valued & ~stream
    if values & stream:
        return "mixed" if earlier else "self"
    if not earlier:
        return "cross"
    return "first" if keys & stream else "shared"


def _maps(found: Attention, layer: Layer, sites: list[Attending], block: Call, none: str) -> None:
    if len(sites) == 1 and axes_fit(sites[0].shape, block.shape, sites[0].equation):
        found.attention[sites[0].steps, sites[0].hit] = AttentionPlace(layer, "self", _how(sites[0]))
    else:
        reason = f"{len(sites)} attention calls in one block" if sites[1:] else WINDOWS if sites else none
        found.no_attention[layer.stack, layer.index] = reason


def _values(
    found: Attention,
    layer: Layer,
    sites: list[Attending],
    block: Call,
    kinds: Mapping[Attending, Kind],
    trace: Trace,
    none: str,
) -> None:
    """The values of the one self-attention call of a block; else those that a projection gives."""
    reason: str | None = None
    if len(sites) == 1:
        site = sites[0]
        mixed, own = kinds[site] == "mixed", site.own if kinds[site] == "mixed" else None
        reason = SHARED if kinds[site] == "shared" else UNTOLD if mixed and own is None else None
        if reason is None and axes_fit(site.shape, block.shape, site.equation):
            order = value_order(site.equation)
            place = ValuePlace(layer, site.repeated, _how(site), site.operand, order, own)
            found.values[site.steps, site.hit] = place
            return
    if reason is None:
        projected = values_without_attention(trace, block, layer)
        if projected is not None:
            key, place, module = projected
            found.values[key] = place
            found.modules += (module,) if module else ()
            return
    several = f"{len(sites)} attention calls in one block" if sites[1:] else None
    found.no_values[layer.stack, layer.index] = reason or several or (WINDOWS if sites else none)


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
    if repeated is not None and len(repeated) == 5 and repeated[0] == values.shape[0] and repeated[2] == 1:
        values = values.reshape(*repeated[:2], -1, *values.shape[2:])[:, :, 0]
    return values


def _filled_up(values: Tensor, tokens: int) -> bool:
    return bool(values[:, :, tokens - 1].any()) and not bool(values[:, :, tokens:].any())
