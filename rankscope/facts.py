"""Facts: what a plan shows of a model, in words and numbers: its stacks, their blocks, and the sums in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankscope.capture.places import Add, Plan
    from rankscope.records import Layer


@dataclass(frozen=True, slots=True)
class SumFacts:
    """A sum that may be a residual add: the module that it runs in, the torch function, and which operand is the skip.

    `status` is residual (edits act on it), internal or outside (of every block); `kind` identity or projection; `mixed`
    where the skip is a mixture of several streams, which takes no factor.
    """

    module: str
    operation: str
    skip: int
    kind: str
    status: str
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """One block: its residual `adds` and its other sums (`internal`), and how its values and attention maps are seen.

    Where `values` or `attention` is None, `no_values` or `no_attention` says why. `sums` are those sums one by one, the
    module of each named from the block on.
    """

    index: int
    layer: str
    type: str
    adds: int
    internal: int
    values: str | None = None
    no_values: str | None = None
    attention: str | None = None
    no_attention: str | None = None
    sums: tuple[SumFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class StackFacts:
    """A stack of blocks.

    `types` are the classes of its blocks, each once; `norm` says where it normalises (pre, post, sandwich), where that
    is known.
    """

    stack: str
    types: tuple[str, ...]
    blocks: tuple[BlockFacts, ...]
    norm: str | None = None


def stack_facts(plan: Plan) -> tuple[StackFacts, ...]:
    """The stacks of a plan.

    Args:
        plan: what was traced.

    Returns:
        The stacks, in order, each with its blocks.
    """
    blocks: dict[str, list[BlockFacts]] = {}
    for place in plan.places:
        if place.layer.index:
            blocks.setdefault(place.layer.stack, []).append(_block(plan, place.layer))
    norms = {add.layer.stack: add.norm for add in plan.adds if add.layer is not None and add.norm is not None}
    return tuple(
        StackFacts(stack, tuple(dict.fromkeys(block.type for block in found)), tuple(found), norms.get(stack))
        for stack, found in blocks.items()
    )


def outside_facts(plan: Plan) -> tuple[SumFacts, ...]:
    """The sums of a plan that run outside every block.

    Args:
        plan: what was traced.

    Returns:
        The sums, in order.
    """
    return tuple(_sum(add, "") for add in plan.adds if add.layer is None)


def _block(plan: Plan, layer: Layer) -> BlockFacts:
    adds = [add for add in plan.adds if add.layer == layer]
    values = _listed([place.how for place in plan.values.values() if place.layer == layer])
    maps = [place for place in plan.attention.values() if place.layer == layer]
    attention = _listed([f"{place.how} (cross)" if place.kind == "cross" else place.how for place in maps])
    key = (layer.stack, layer.index)
    return BlockFacts(
        index=layer.index,
        layer=layer.name,
        type=layer.type,
        adds=sum(add.status == "residual" for add in adds),
        internal=sum(add.status == "internal" for add in adds),
        values=values,
        no_values=None if values else plan.no_values.get(key),
        attention=attention,
        no_attention=None if attention else plan.no_attention.get(key),
        sums=tuple(_sum(add, layer.name.partition("#")[0]) for add in adds),
    )


def _sum(add: Add, block: str) -> SumFacts:
    module = add.module.removeprefix(block).removeprefix(".")
    return SumFacts(module, add.operation, add.skip or 0, add.kind, add.status, add.mixed)


def _listed(words: list[str]) -> str | None:
    """How something is seen; several ways in one block are told together."""
    return ", ".join(dict.fromkeys(words)) or None
