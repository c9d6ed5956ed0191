"""Projections: C_V of the heads of an attention call, from the value and output maps that the block multiplied by.

No name is asked. The value map is the one product with a weight whose result is the values that entered attention; the
output map is the one that was given what the maps make of them. Where either is not seen so, there is no C_V.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rankscope.capture.attention import arrange_values
from rankscope.capture.layout import Unmeasurable
from rankscope.certificate.rounding import close

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.capture.layout import Axes
    from rankscope.capture.maps import AttentionMaps
    from rankscope.capture.places import ValuePlace


class Product(NamedTuple):
    """One product with a weight (out, in): what was `given`, and what it `gave`."""

    given: Tensor
    weight: Tensor
    gave: Tensor


@dataclass(slots=True)
class Products:
    """What a block multiplied by weights while it ran, and the values that entered its attention."""

    every: list[Product] = field(default_factory=list)
    values: Tensor | None = None
    place: ValuePlace | None = None


class Projections(NamedTuple):
    """`value` (heads, head, width) and `out` (heads, width, head): C_g = value_gᵀ out_gᵀ; `size` is ‖[C_1 … C_G]‖_2."""

    value: Tensor
    out: Tensor
    size: float

    def branch(self, weights: Tensor, stream: Tensor) -> Tensor:
        """Σ_g M_g Y C_g of one sequence: weights (heads, tokens, tokens), stream (tokens, width)."""
        mixed = weights @ (stream @ self.value.mT)  # (heads, tokens, head)
        return (mixed @ self.out.mT).sum(0)


def product(name: str, args: tuple[Any, ...], gave: Any) -> Product | None:
    """A product of an activation with a weight, if an operation is one.

    Args:
        name: of the function.
        args: its positional arguments.
        gave: its result.

    Returns:
        The product, or None.
    """
    if name == "linear" and len(args) > 1:
        return Product(args[0], args[1], gave)
    if name == "addmm" and len(args) > 2 and isinstance(args[2], torch.nn.Parameter):
        return Product(args[1], args[2].T, gave)
    return None


def projections(seen: Products, maps: AttentionMaps, where: Axes, tokens: int, width: int) -> Projections:
    """The value and output maps of the heads of a block.

    Args:
        seen: what the block multiplied.
        maps: of its attention call, arranged by sequence.
        where: the axes of the batch.
        tokens: of the block's own output.
        width: of the stream.

    Returns:
        The maps, in float64.

    Raises:
        Unmeasurable: they were not seen, with the reason.
    """
    if seen.values is None or seen.place is None or seen.place.own is not None:
        raise Unmeasurable("its values are not seen, or mixed with those of another layer: C_V is not told")
    values = seen.values.permute(seen.place.order) if seen.place.order else seen.values
    values = arrange_values(values, seen.place.repeated, where, tokens)
    first = int(values.isfinite().flatten(1).all(1).int().argmax())  # a broken sequence shows no map
    weights = maps[first][0]
    heads, kept, size = len(weights), values.shape[1], values.shape[3]
    if heads % kept:
        raise Unmeasurable(f"its {heads} heads do not share {kept} heads of values evenly: C_V is not told")
    value = _value_map(seen.every, values, width)
    if value is None:
        raise Unmeasurable("no one linear map was seen to make its values of the stream's width: C_V is not told")
    shared = values[first].repeat_interleave(heads // kept, 0).to(weights.dtype)  # (heads, tokens, size)
    out = _out_map(seen.every, (weights @ shared).transpose(0, 1).flatten(1), (first, len(values)), width)
    if out is None:
        raise Unmeasurable("no one linear map was seen to take what its heads mixed: C_V is not told")
    into = value.double().reshape(kept, size, width).repeat_interleave(heads // kept, 0)
    back = out.double().reshape(width, heads, size).transpose(0, 1)
    return Projections(into, back, _norm(into, back))


def _norm(value: Tensor, out: Tensor) -> float:
    """‖[C_1 … C_G]‖_2 = √‖Σ_g C_g C_gᵀ‖_2, without any C_g, which is width × width."""
    inner = torch.einsum("gea,geb->gab", out, out)
    gram = torch.einsum("gac,gab,gbd->cd", value, inner, value)
    if not bool(gram.isfinite().all()):
        return math.nan
    return float(torch.linalg.eigvalsh(gram)[-1].clamp(min=0).sqrt())


def _value_map(every: list[Product], values: Tensor, width: int) -> Tensor | None:
    """The rows of the one weight whose result, or a part of it, is the values."""
    count, _, tokens, _ = values.shape
    rows = values.permute(0, 2, 1, 3).flatten(2)  # (batch, tokens, features)
    orders = (rows.flatten(0, 1), rows.transpose(0, 1).flatten(0, 1))
    features, found = rows.shape[2], []
    for each in every:
        out, into = each.weight.shape
        if into != width or out < features or each.gave.numel() != count * tokens * out:
            continue
        gave = each.gave.reshape(-1, out)
        for start in sorted({*range(0, out - features + 1, features), out - features}):
            part = gave[:, start : start + features]
            if any(close(part, order) for order in orders):
                found.append(each.weight.detach()[start : start + features])
    return found[0] if len(found) == 1 else None


def _out_map(every: list[Product], mixed: Tensor, which: tuple[int, int], width: int) -> Tensor | None:
    """The one weight that was given what the heads mixed: mixed (tokens, features) of sequence `which` of how many."""
    tokens, features = mixed.shape
    (first, count), found = which, []
    for each in every:
        out, into = each.weight.shape
        if into != features or out != width or each.given.numel() != count * tokens * features:
            continue
        given = each.given.reshape(-1, features)
        if any(_alike(part, mixed) for part in (given[first * tokens :][:tokens], given[first::count])):
            found.append(each.weight.detach())
    return found[0] if len(found) == 1 else None


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two results of the same product by other routes are equal, up to what such routes differ by."""
    if one.shape != other.shape:
        return False
    allowed = max(1e-4, 8 * torch.finfo(one.dtype).eps)
    return bool((one.double() - other.double()).norm() <= allowed * one.double().norm())
