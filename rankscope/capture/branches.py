"""Branches: what each block adds to its stream, and whether it mixes tokens; told by data flow, never by names.

Back from what a block returns, by views, pointwise operations and sums, one arrives at what it got: that way is the
stream. Whatever joins it in a sum from elsewhere is a branch. One that holds an attention call, a scan or, for want of
these, a convolution or a linear map over tokens mixes them: the attention sublayer, or what stands in its place.
Another is an MLP.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rankscope.capture.blocks import stream
from rankscope.capture.flow import FUSED
from rankscope.capture.graph import Operation, ancestors, within
from rankscope.capture.turning import across_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rankscope.capture.flow import Call, Steps
    from rankscope.capture.graph import Graph
    from rankscope.capture.places import Plan
    from rankscope.records import Layer

SCANS = re.compile(r"cum(sum|prod)|logcumsumexp|fft_.*|lstm|gru|rnn_tanh|rnn_relu")
POOLS = re.compile(r".*_pool[123]d")
PRODUCTS = re.compile(r"_*r?matmul_*|(badd)?bmm_?|einsum|tensordot")


@dataclass(frozen=True, slots=True)
class Branch:
    """Operand number `operand` of a sum that joins the stream of a layer; `inside` is what it is made of.

    `mixes`: it mixes tokens.
    """

    layer: Layer
    sum: Operation
    operand: int
    mixes: bool
    inside: tuple[Operation, ...]


def blocks_of(graph: Graph, plan: Plan) -> dict[Call, Layer]:
    """The calls of a graph that are the blocks of a plan.

    Args:
        graph: of the same model and inputs as the plan.
        plan: the plan.

    Returns:
        Each call with its layer, in order.
    """
    layers = {(place.module_name, place.call): place.layer for place in plan.places if not place.entering}
    found = {(call.name, call.index): call for call in graph.calls}
    return {found[key]: layer for key, layer in layers.items() if key in found}


def branches(graph: Graph, blocks: Mapping[Call, Layer]) -> list[Branch]:
    """Every branch of every block.

    Args:
        graph: a finished graph.
        blocks: the calls that are blocks, and their layers.

    Returns:
        The branches, in the order of the blocks.
    """
    found: list[Branch] = []
    streams: dict[str, set[Operation]] = {}
    for block, layer in blocks.items():
        entered, number = graph.entered[block], stream(block, graph.sums)
        if block not in graph.left:
            continue
        before = streams.setdefault(layer.stack, set())
        if not before.intersection(entered) and number < len(entered):  # the first block of its stack
            before.add(entered[number])
        if graph.left[block] not in before:
            found += _Stream(graph.left[block], before | _projected(graph, block), block, blocks).branches(layer)
        before.add(graph.left[block])
    return found


def _projected(graph: Graph, block: Call) -> set[Operation]:
    """The skips of a block that go through a projection: they carry the stream although it is mixed."""
    sites = [site for site in graph.sums if site.kind == "projection" and block.sums & site.bit]
    skips = {(site.steps, site.hit): site.skip or 0 for site in sites if site.call.inside([block])}
    sums = [operation for operation in graph.operations if (operation.steps, operation.hit) in skips]
    return {operation.operands[skips[operation.steps, operation.hit]] for operation in sums if operation.adds}


class _Foreign:
    """What is no part of a block's branches: its stream, and what ran in other blocks."""

    def __init__(self, carries: set[Operation], block: Call, blocks: Mapping[Call, Layer]) -> None:
        self.carries, self.block, self.blocks = carries, block, blocks

    def __contains__(self, operation: object) -> bool:
        assert isinstance(operation, Operation)
        ran = operation.call.inside(self.blocks) if operation.call else None
        return operation in self.carries or (ran is not None and ran is not self.block)


class _Stream:
    """The way back from the output of a block to what is known to be its stream."""

    def __init__(self, output: Operation, before: set[Operation], block: Call, blocks: Mapping[Call, Layer]) -> None:
        self.carries = set(before)
        self.foreign = _Foreign(self.carries, block, blocks)
        met = ancestors([output], before, joined)
        grown = True
        while grown:  # an operation may have been met before one of its operands
            size = len(self.carries)
            self.carries |= {op for op in met if any(operand in self.carries for operand in joined(op))}
            grown = len(self.carries) > size
        self.sums = [operation for operation in reversed(met) if operation.adds and operation in self.carries]

    def branches(self, layer: Layer) -> list[Branch]:
        """The branches of one block; where nothing in it mixes tokens in earnest, what takes in those around does."""
        found: list[Branch] = []
        for operation in self.sums:
            for number, operand in enumerate(operation.operands):
                if operand not in self.carries and not operand.constant:
                    found += self._split(layer, operation, number)
        if any(branch.mixes for branch in found):
            return found
        across = across_tokens([branch.inside for branch in found], self.carries)
        return [replace(b, mixes=takes_in(b.inside) or over) for b, over in zip(found, across, strict=True)]

    def _split(self, layer: Layer, operation: Operation, number: int) -> list[Branch]:
        """One operand of a sum; where it is itself the sum of an MLP and of what mixes tokens, both apart."""
        operand = operation.operands[number]
        inside = ancestors([operand], self.foreign)
        if not any(part.mixing for part in inside) or not any(self.carries & set(part.operands) for part in inside):
            return []  # positions, or other numbers that are not made of the stream
        branch = Branch(layer, operation, number, mixes_tokens(inside, operation.shape), tuple(inside))
        inner = _sum_of(operand) if branch.mixes else None
        parts = [] if inner is None else [p for k in range(len(inner.operands)) for p in self._split(layer, inner, k)]
        return parts if len({part.mixes for part in parts}) > 1 else [branch]


def joined(operation: Operation) -> list[Operation]:
    """The operands that come to the result by views, pointwise operations and sums, and make up its size.

    Args:
        operation: any operation.

    Returns:
        What made them; of a sum with a product inside, such as addmm, what the product is added to.
    """
    if operation.name in FUSED and len(operation.operands) > 1:
        return [operation.operands[0]]  # the product is inside the sum
    if operation.adds:
        return [operand for operand in operation.operands if not operand.constant]
    return [operation.operands[number] for number in operation.passed()]


def _sum_of(operation: Operation) -> Operation | None:
    """The sum that an operation passes on by views and pointwise operations; None where there is none."""
    while not operation.adds:
        passed = operation.passed()
        if len(passed) != 1:
            return None
        operation = operation.operands[passed[0]]
    return None if operation.name in FUSED else operation


def mixes_tokens(inside: Sequence[Operation], shape: tuple[int, ...]) -> bool:
    """Whether operations mix tokens in earnest: by attention, a scan, or a loop over the tokens.

    Args:
        inside: operations.
        shape: of a tensor that holds the tokens.

    Returns:
        Whether one of them does; a convolution or a pooling does not count, since an MLP may hold one too.
    """
    return any(map(_mixes, inside)) or _loops(inside, shape)


def takes_in(inside: Sequence[Operation]) -> bool:
    """Whether operations take in the tokens around each: by a convolution that is no linear map, or a pooling.

    Args:
        inside: operations.

    Returns:
        Whether one of them does.
    """
    return any(operation.span > 1 or POOLS.fullmatch(operation.name) for operation in inside)


def _mixes(operation: Operation) -> bool:
    """Whether an operation mixes tokens: a product of two activations does, one with a weight does not."""
    if operation.attends or SCANS.fullmatch(operation.name):
        return True
    activations = [operand for operand in operation.operands if not operand.constant]
    if operation.opaque:
        return len(activations) > 1 and not operation.weighted
    return PRODUCTS.fullmatch(operation.name) is not None and len(activations) > 1


def _loops(inside: Sequence[Operation], shape: tuple[int, ...]) -> bool:
    """Whether a place ran for token after token, each time with what the time before gave."""
    places: dict[tuple[Steps, str], list[Operation]] = {}
    for operation in inside:
        places.setdefault((operation.steps, operation.name), []).append(operation)
    for (steps, _), ran in places.items():
        if steps and any(0 <= tokens - len(ran) <= 1 < len(ran) for tokens in shape[:-1]):
            first, last = (pick(ran, key=lambda operation: operation.hit) for pick in (min, max))
            if first in within([last], inside):
                return True
    return False
