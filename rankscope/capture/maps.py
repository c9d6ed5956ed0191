"""Maps: the weights with which attention mixes the tokens of one sequence, recomputed when they are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rankscope.capture.flow import tensors
from rankscope.capture.layout import Unmeasurable
from rankscope.capture.orders import map_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rankscope.capture.layout import Axes

Part = int | slice


@dataclass(frozen=True, slots=True)
class AttentionMaps:
    """The maps of one attention call; one sequence at a time is in memory.

    `lead` is (batch, heads), or (batch · heads,) as the call gave it, and `heads` then the heads of one sequence;
    `read` gives weights (heads, queries, keys) and what the mask permits (queries, keys) of a part of `lead`.
    """

    lead: tuple[int, ...]
    queries: int
    keys: int
    read: Callable[[Part], tuple[Tensor, Tensor]]
    heads: int | None = None

    def __len__(self) -> int:
        """The number of sequences.

        Returns:
            The number.

        Raises:
            Unmeasurable: the call does not tell sequences from heads, or has further axes; see `arrange_maps`.
        """
        if len(self.lead) == 2 or (len(self.lead) == 1 and self.heads):
            return self.lead[0] // (self.heads or 1)
        shape = (*self.lead, self.queries, self.keys)
        raise Unmeasurable(f"its attention maps have shape {shape}: which of them belong to one sequence is not told")

    @property
    def bytes_each(self) -> int:
        """What the map of one sequence, all heads, takes in float32.

        Returns:
            Bytes.
        """
        heads = self.heads or (self.lead[-1] if self.lead else 1)
        return 4 * heads * self.queries * self.keys

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The map of one sequence.

        Args:
            index: the number of the sequence.

        Returns:
            Weights (heads, queries, keys), each row a softmax, which sums to less than 1 where a sink takes part, and a
            boolean (queries, keys) of the positions that the mask permits to any head.

        Raises:
            IndexError: there is no such sequence.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = index if self.heads is None else slice(index * self.heads, (index + 1) * self.heads)
        with torch.no_grad():
            return self.read(part)


def arrange_maps(maps: AttentionMaps, where: Axes, tokens: int | None, kind: str = "self") -> AttentionMaps:
    """Maps by sequence, if their queries, and in self-attention their keys, are the tokens of the block.

    Args:
        maps: the maps of one call.
        where: the axes of the batch.
        tokens: the tokens of the block's own output, where known.
        kind: ``"self"`` or ``"cross"``.

    Returns:
        The maps, one for each sequence of the batch.

    Raises:
        Unmeasurable: they are maps of windows, chunks or other tokens than those of the block.

    Example:
        >>> from rankscope.capture.layout import Axes
        >>> found = maps_of("bmm", (torch.eye(3).expand(8, 3, 3), torch.zeros(8, 3, 4)), {})
        >>> len(arrange_maps(found, Axes(2, 3, None), 3)), tuple(arrange_maps(found, Axes(2, 3, None), 3)[0][0].shape)
        (2, (4, 3, 3))
    """
    count = where.batch
    heads = maps.lead[0] // count if len(maps.lead) == 1 and count and maps.lead[0] % count == 0 else None
    fits = heads if len(maps.lead) == 1 else len(maps.lead) == 2 and maps.lead[0] == count
    sizes = {maps.queries, maps.keys} if kind == "self" else {maps.queries}
    if not fits or (tokens is not None and sizes != {tokens}):
        shape = (*maps.lead, maps.queries, maps.keys)
        raise Unmeasurable(f"its attention maps have shape {shape}: their tokens are not those of the block")
    return replace(maps, heads=heads)


def maps_of(operation: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AttentionMaps:
    """The maps of an attention call.

    Args:
        operation: ``scaled_dot_product_attention``, ``flex_attention`` or the product of a softmax with values.
        args: the arguments of the call.
        kwargs: its keyword arguments.

    Returns:
        The maps; nothing is computed yet.
    """
    if operation == "scaled_dot_product_attention":
        return _softmax(*args, **kwargs)
    if operation == "flex_attention":
        return _flex(*args, **kwargs)
    weights = next(tensors((args, kwargs)))
    order = map_order(args[0]) if operation == "einsum" and isinstance(args[0], str) else None
    return _given(weights.permute(order) if order else weights)


def _softmax(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> AttentionMaps:
    """softmax(q kᵀ · scale + mask), as torch documents it."""
    del value, dropout_p, enable_gqa
    lead, queries, keys = query.shape[:-2], query.shape[-2], key.shape[-2]
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    mask = None if attn_mask is None else attn_mask.expand(*lead, queries, keys)
    key = key.expand(*lead[:-1], *key.shape[-3:]) if len(lead) > 1 else key

    def read(part: Part) -> tuple[Tensor, Tensor]:
        q, k = _wide(query[part]), _wide(key[part])
        scores = q @ k.repeat_interleave(len(q) // len(k), 0).transpose(1, 2) * factor
        allowed = torch.ones_like(scores, dtype=torch.bool)
        if is_causal:
            allowed = allowed.tril()
        if mask is not None and mask.dtype == torch.bool:
            allowed = allowed & mask[part]
        scores = scores.masked_fill(~allowed, -torch.inf)
        if mask is not None and mask.dtype != torch.bool:
            scores = scores + mask[part]
            allowed = allowed & (mask[part] > torch.finfo(mask.dtype).min / 2)
        weights, blind = torch.softmax(scores, -1), ~allowed.any(-1, keepdim=True)
        # A row that may see nothing is zero; any other that is not a number stays one.
        return torch.where(blind, weights.nan_to_num(0.0), weights), allowed.any(0)

    return AttentionMaps(tuple(lead), queries, keys, read)


def _given(weights: Tensor) -> AttentionMaps:
    """The first operand of softmax(scores) @ values."""

    def read(part: Part) -> tuple[Tensor, Tensor]:
        found = _wide(weights[part])
        if bool((found < 0).any()):
            raise Unmeasurable("its attention weights are signed: they are no shares of the keys")
        return found, (found > 0).any(0)

    return AttentionMaps(tuple(weights.shape[:-2]), weights.shape[-2], weights.shape[-1], read)


def _flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Callable[..., Tensor],
    block_mask: tuple[Any, ...],
    scale: float,
    *rest: Any,
) -> AttentionMaps:
    """What the operator gives for identity values, which holds whatever it does to the scores."""
    del value  # a sequence that is taken out counts as number 0: the user's functions are told its true number

    def read(part: Part) -> tuple[Tensor, Tensor]:
        q, k = _wide(query[part]).unsqueeze(0), _wide(key[part]).unsqueeze(0)
        identity = torch.eye(k.shape[2], dtype=k.dtype, device=k.device).expand(*k.shape[:3], -1)
        mask = (*block_mask[:-1], lambda batch, *where: block_mask[-1](batch + part, *where))
        found = torch.ops.higher_order.flex_attention(
            q, k, identity, lambda score, batch, *where: score_mod(score, batch + part, *where), mask, scale, *rest
        )[0][0]
        return found, (found > 0).any(0)

    return AttentionMaps(tuple(query.shape[:-2]), query.shape[-2], key.shape[-2], read)


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
