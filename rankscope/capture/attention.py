"""Attention: which calls of a traced forward pass are the attention of which layer, and where its values are.

V_n = H_{n-1} W^V, the values that enter attention at layer n, and the maps A_n that mix them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rankscope.capture.flow import PRODUCTS
from rankscope.capture.layout import Axes, Unmeasurable
from rankscope.capture.places import AttentionPlace, ValuePlace

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from rankscope.capture.flow import Call, Site, Steps
    from rankscope.capture.trace import Trace
    from rankscope.records import Layer

NO_ATTENTION = "no attention call was seen in this block"
Key = tuple["Steps", int]


@dataclass(slots=True)
class Attention:
    """The values and maps of all layers, or the reasons why there are none; keys as in `places.Plan`."""

    values: dict[Key, ValuePlace] = field(default_factory=dict)
    no_values: dict[tuple[str, int], str] = field(default_factory=dict)
    attention: dict[Key, AttentionPlace] = field(default_factory=dict)
    no_attention: dict[tuple[str, int], str] = field(default_factory=dict)


def attention(trace: Trace, blocks: Mapping[Call, Layer]) -> Attention:
    """Find the attention of each block.

    Args:
        trace: a finished trace.
        blocks: the calls that are blocks, and their layers.

    Returns:
        What was found of values and maps.
    """
    nested = any(site.call.inside(blocks) for site in trace.attention)
    own: dict[Layer, list[Site]] = {layer: [] for layer in blocks.values()}
    other: dict[Layer, list[Site]] = {layer: [] for layer in blocks.values()}
    for site in trace.attention:
        if nested:
            block = site.call.inside(blocks)
        else:  # each block is a residual module that follows its attention
            block = min((c for c in blocks if c.number > site.call.number), key=lambda c: c.number, default=None)
        if block is not None:
            of_stream = not nested or site.origins & block.stream
            (own if of_stream else other)[blocks[block]].append(site)
    found = Attention()
    for layer, sites in own.items():
        key = (layer.stack, layer.index)
        if len(sites) == 1:
            site, how = sites[0], _how(sites[0])
            found.values[site.steps, site.hit] = ValuePlace(layer, site.repeated, how, 1 if how not in WHOLE else 2)
            found.attention[site.steps, site.hit] = AttentionPlace(layer, "self", how)
        else:
            reason = f"{len(sites)} attention calls in one block" if sites else NO_ATTENTION
            found.no_values[key] = found.no_attention[key] = reason
        if len(other[layer]) == 1:
            site = other[layer][0]
            found.attention[site.steps, site.hit] = AttentionPlace(layer, "cross", _how(site))
    return found


WHOLE = {"scaled_dot_product_attention", "flex_attention"}


def _how(site: Site) -> str:
    return f"softmax · {site.operation.strip('_')}" if site.operation in PRODUCTS else site.operation


def arrange_values(values: Tensor, repeated: torch.Size | None, where: Axes, tokens: int | None) -> Tensor:
    """Bring values into the shape (batch, heads, tokens, width).

    Heads that were repeated for grouped queries are taken once, so that each key-value head counts as it is.

    Args:
        values: (batch, heads, tokens, width), (batch · heads, tokens, width) or (batch, tokens, width).
        repeated: the shape before heads were repeated, or None.
        where: the axes of the batch.
        tokens: the tokens of the block's own output, where known.

    Returns:
        Values of shape (batch, heads, tokens, width); one head where no axis of heads is known.

    Raises:
        Unmeasurable: the tokens of the values are not those of the block.

    Example:
        >>> import torch
        >>> arrange_values(torch.zeros(8, 16, 8), None, Axes(2, 16, "btd"), 16).shape
        torch.Size([2, 4, 16, 8])
    """
    shape = tuple(values.shape)
    if values.ndim == 3 and shape[0] != where.batch and where.batch and shape[0] % where.batch == 0:
        values = values.reshape(where.batch, -1, *shape[1:])
    if values.ndim == 3:
        values = values.unsqueeze(1)
    if values.ndim != 4 or values.shape[0] != where.batch or (tokens is not None and values.shape[2] != tokens):
        raise Unmeasurable(f"its values have shape {shape}: their tokens are not those of the block")
    if repeated is not None and len(repeated) == 5 and repeated[0] == values.shape[0] and repeated[2] == 1:
        values = values.reshape(*repeated[:2], -1, *values.shape[2:])[:, :, 0]
    return values
