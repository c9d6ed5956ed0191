"""Degrees: norms written out, told by homogeneity.

f is homogeneous of degree p when f(c x) = c^p f(x) for c > 0. A norm is a product x · r(x) (or a quotient x / r(x))
whose r is of degree −1 (or 1), reduces over features, and is even in x: mean(x²), ‖x‖, std(x). The weights of a
mixture, w / sum(w), are not even and no norm. An ε beside it is left out of account.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.capture.flow import POWERS, RESIZES, SCALES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rankscope.capture.graph import Graph, Operation

DIVIDES = {"div", "div_", "__truediv__", "__itruediv__", "true_divide", "divide"}
SHIFTS = {"add", "add_", "__add__", "__radd__", "__iadd__", "sub", "sub_", "__sub__", "__isub__"}
VIEWS = RESIZES | {
    "to",
    "float",
    "type",
    "type_as",
    "double",
    "half",
    "bfloat16",
    "view",
    "reshape",
    "transpose",
    "permute",
}
VIEWS |= {
    "contiguous",
    "clone",
    "squeeze",
    "unsqueeze",
    "flatten",
    "unflatten",
    "expand",
    "expand_as",
    "movedim",
    "write",
}
REDUCES = {"mean", "sum", "amax", "max", "nanmean"}
EVEN = {"abs": 1.0, "square": 2.0, "var": 2.0, "std": 1.0, "norm": 1.0, "vector_norm": 1.0, "linalg_norm": 1.0}
EVEN |= {"linalg_vector_norm": 1.0, "frobenius_norm": 1.0}
ROOTS = {
    "sqrt": 0.5,
    "sqrt_": 0.5,
    "rsqrt": -0.5,
    "rsqrt_": -0.5,
    "reciprocal": -1.0,
    "__rdiv__": -1.0,
    "__rtruediv__": -1.0,
}
CLAMPS = re.compile(r"clamp(_min|_max)?_?|clip|maximum|nan_to_num|dropout")
MOST = 40  # operations between a tensor and its norm


@dataclass(frozen=True, slots=True)
class Written:
    """A norm written out: `product` scales its operand number `operand`; `parts` are what the scale is made of.

    `centring` and `affine` are operations before and after it, each with the operand that goes on without them.
    """

    product: Operation
    operand: int
    parts: frozenset[Operation]
    centring: tuple[tuple[Operation, int], ...]
    affine: tuple[tuple[Operation, int], ...]


def written(graph: Graph) -> list[Written]:
    """The norms that are written out in a graph.

    Args:
        graph: a finished graph.

    Returns:
        The norms, in the order of their running.
    """
    takers: dict[Operation, list[Operation]] = defaultdict(list)
    for operation in graph.operations:
        for operand in operation.operands:
            takers[operand].append(operation)
    return [found for operation in graph.operations if (found := _written(operation, takers))]


def _written(product: Operation, takers: Mapping[Operation, Sequence[Operation]]) -> Written | None:
    if product.name not in SCALES | DIVIDES or len(product.operands) != 2:
        return None
    if any(operand.constant for operand in product.operands):
        return None
    for number in (0, 1) if product.name in SCALES else (0,):
        tensor, scale = product.operands[number], product.operands[1 - number]
        chain, centring = _chain(tensor)
        degrees = _Degrees(chain)
        if product.sizes[number] != product.size or degrees.of(scale) != (-1.0 if product.name in SCALES else 1.0):
            continue
        if degrees.even and degrees.reduces:
            affine = tuple(_affine(product, takers))
            return Written(product, number, frozenset(degrees.met), tuple(centring), affine)
    return None


def _chain(tensor: Operation) -> tuple[set[Operation], list[tuple[Operation, int]]]:
    """A tensor and what it is a view, a cast or a centring of; and the centrings."""
    chain, centring = {tensor}, []
    while len(chain) < MOST:
        passed = tensor.passed()
        if tensor.name in SHIFTS and len(tensor.operands) == 2 and tensor.sizes[0] == tensor.size > tensor.sizes[1]:
            centring.append((tensor, 0))
        elif tensor.name not in VIEWS or len(passed) != 1:
            break
        tensor = tensor.operands[0]
        chain.add(tensor)
    return chain, centring


class _Degrees:
    """Degrees of homogeneity in the tensors of a chain; `met` are the operations that were asked."""

    def __init__(self, chain: set[Operation]) -> None:
        self.chain, self.even, self.reduces = chain, False, False
        self.met: set[Operation] = set()

    def of(self, operation: Operation) -> float | None:
        """The degree of an operation; None where it has none, or is made of other things."""
        if operation in self.chain:
            return 1.0
        if operation.constant:
            return 0.0
        if len(self.met) >= MOST or not operation.operands:
            return None
        self.met.add(operation)
        name = operation.name
        degrees = [self.of(operand) for operand in operation.operands]
        known = [degree for degree in degrees if degree is not None]
        if len(known) < len(degrees):
            return None
        self.reduces |= operation.size < operation.sizes[0] and name not in RESIZES
        self.even |= name in EVEN or operation.power == 2 or (name in SCALES and _squares(operation))
        first = known[0]
        if name in SCALES:
            return sum(known)
        if name in DIVIDES:
            return first - sum(known[1:])
        if name in POWERS:
            return None if operation.power is None else first * operation.power
        if name in EVEN or name in ROOTS:
            return first * (EVEN | ROOTS)[name]
        if name in VIEWS | REDUCES or CLAMPS.fullmatch(name):
            return first
        if name in SHIFTS:
            moving = {degree for degree, operand in zip(known, operation.operands, strict=True) if not operand.constant}
            return first if len(moving) == 1 else None
        return None


def _squares(operation: Operation) -> bool:
    return len(operation.operands) == 2 and operation.operands[0] is operation.operands[1]


def _affine(core: Operation, takers: Mapping[Operation, Sequence[Operation]]) -> Iterator[tuple[Operation, int]]:
    """The learned scale and shift that follow a norm in the same forward."""
    while len(takers[core]) == 1:
        after = takers[core][0]
        moving = [number for number, operand in enumerate(after.operands) if not operand.constant]
        if len(moving) != 1 or after.call is not core.call:
            return
        if after.name in SCALES | SHIFTS and after.weighted and after.sizes[moving[0]] == after.size:
            yield after, moving[0]
        elif after.name not in VIEWS:
            return
        core = after


def scales(operation: Operation) -> bool:
    """Whether an operation is a root of reduced squares, as norms hold.

    Args:
        operation: any operation.

    Returns:
        Whether it is one.
    """
    if operation.constant or not (operation.name in ROOTS or (operation.power or 1.0) in {0.5, -0.5}):
        return operation.name in {"std"} and not operation.constant
    before, reduces = operation, False
    for _ in range(MOST):
        moving = [operand for operand in before.operands if not operand.constant]
        if len(moving) != 1 or before.mixing:
            return False
        reduces |= before.size < max(before.sizes) and before.name not in RESIZES
        if before.name in EVEN or before.power == 2:
            return reduces
        before = moving[0]
    return False
