"""Norms: every normalisation of activations in one forward pass; told by what it computes, never by names of modules.

- a call of a torch function that normalises, such as ``layer_norm``
- a module without children whose output is the same for 1,000 x and for 7,000 x, and is not pointwise
- a norm written out, x · r(x): r is homogeneous of degree −1 in x, a root of reduced squares (``rsqrt(mean(x²) + ε)``)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rankscope.capture.degrees import Written, scales, written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rankscope.capture.flow import Call
    from rankscope.capture.graph import Graph, Operation
    from rankscope.records import Layer

FUNCTIONS = {"layer_norm", "rms_norm", "group_norm", "batch_norm", "instance_norm", "normalize"}
LARGE, LARGER = 1000.0, 7000.0  # so large that no ε is seen
CLOSE = 0.02  # bf16 rounds 1,000 x and 7,000 x apart


@dataclass(frozen=True, slots=True)
class Norm:
    """One norm: a `module` call that gives what it got, or operations, each of which gives its operand of that number.

    `layer` is the block in which it runs, None outside every block.
    """

    layer: Layer | None
    module: Call | None = None
    operations: tuple[tuple[Operation, int], ...] = ()


def norms(graph: Graph, blocks: Mapping[Call, Layer]) -> tuple[list[Norm], list[Operation]]:
    """Find the norms of a model.

    Args:
        graph: a finished graph; its model is run, a module at a time, on random numbers.
        blocks: the calls that are blocks, and their layers.

    Returns:
        The norms in the order of their running, and roots of reduced squares that are part of none of them.
    """
    cores = {core.product: core for core in written(graph)}
    parts = {part for core in cores.values() for part in core.parts}
    holders = {op.call for op in graph.operations if op.name in FUNCTIONS or op.opaque or op in cores}
    modules = {call for call in graph.calls if call in holders and _is_norm(graph, call)}
    found: dict[Call | Operation, Norm] = {}
    for operation in graph.operations:
        call = operation.call
        layer = _layer(call, blocks)
        if call in modules and call is not None:
            found.setdefault(call, Norm(layer, call))
        elif operation.name in FUNCTIONS and operation.operands and not operation.constant:
            found[operation] = Norm(layer, operations=((operation, 0),))
        elif operation in cores:
            found[operation] = Norm(layer, operations=_taken_out(cores[operation]))
    rest = [op for op in graph.operations if scales(op) and op not in parts and op.call not in modules]
    return list(found.values()), rest


def _layer(call: Call | None, blocks: Mapping[Call, Layer]) -> Layer | None:
    block = call.inside(blocks) if call else None
    return blocks[block] if block else None


def _taken_out(core: Written) -> tuple[tuple[Operation, int], ...]:
    """The product and the centring give the tensor itself, so do the learned scale and shift that follow."""
    return ((core.product, core.operand), *core.centring, *core.affine)


def _is_norm(graph: Graph, call: Call) -> bool:
    """Whether a module without children normalises what it gets, tried on random numbers."""
    given = graph.alone.get(call)
    inside = [operation for operation in graph.operations if operation.call is call]
    if given is None or next(call.module.children(), None) is not None or call.shape != given.shape:
        return False
    if any(operation.mixing and not operation.opaque for operation in inside):
        return False
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(given.shape, generator=generator)
    other = x.clone()
    other.view(-1)[0] += 3.0
    try:
        first, second, third = (
            call.module(numbers.to(given.device, given.dtype)).float()
            for numbers in (LARGE * x, LARGER * x, LARGE * other)
        )
    except (RuntimeError, TypeError, ValueError):  # it runs on what the model gives it, and on nothing else
        return False
    size = first.abs().max()
    if not (torch.isfinite(first).all() and size > 0 and (first - second).abs().max() <= CLOSE * size):
        return False
    elsewhere = (first - third).abs().flatten()[1:] > 0
    sums = first.sum(-1)
    return bool(elsewhere.any()) and not torch.allclose(sums, torch.ones_like(sums), atol=CLOSE)
