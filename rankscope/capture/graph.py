"""Graph: every torch function of one forward pass, where it runs and whose results it took.

A trace says of a tensor what it was made of; an edit that takes out a norm, a gate or a branch needs to know how. A
graph keeps no activation: of an operation it knows the name, the place in the user's code, the operations whose results
it took, and shapes.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from rankscope.capture.flow import INPLACE, MIXING, OPENED, POWERS, RESIZES, SUMS, function_name, place, tensors
from rankscope.capture.operands import attends
from rankscope.capture.trace import Trace, trace

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, MutableMapping

    import torch

    from rankscope.capture.flow import Call, Flow, Steps
    from rankscope.capture.operands import Operands
    from rankscope.records import Batch

WRITE = "write"  # a tensor after a write through another view of its memory


@dataclass(eq=False, slots=True)
class Operation:
    """One torch function that ran.

    `steps` and `hit` are its place, as in `flow`, with the hits of each function counted apart; `operands` are what
    made its floating operands, parameters left out, `sizes` their numbers of elements; `size` and `shape` those of its
    first result. `constant`: it depends on no input; `weighted`: what depends on none is among its operands; `mixing`
    as in `flow`; `attends`: it is an attention call; `opaque`: none of torch's own; `power`: the exponent of a power;
    `span`: over how many positions the kernel of a convolution reaches.
    """

    name: str
    steps: Steps = ()
    hit: int = 0
    call: Call | None = None
    operands: tuple[Operation, ...] = ()
    sizes: tuple[int, ...] = ()
    size: int = 0
    shape: tuple[int, ...] = ()
    constant: bool = False
    weighted: bool = False
    mixing: bool = False
    attends: bool = False
    opaque: bool = False
    power: float | None = None
    span: int = 1

    @property
    def adds(self) -> bool:
        """Whether it is a sum of two tensors."""
        return self.name in SUMS and len(self.operands) > 1

    def passed(self) -> list[int]:
        """The operands that reach the result by views and pointwise operations, in full size; none where it mixes.

        Returns:
            Their numbers, those that depend on no input left out.
        """
        if self.mixing:
            return []
        return [
            number
            for number, operand in enumerate(self.operands)
            if not operand.constant and (self.sizes[number] == self.size or self.name in RESIZES)
        ]


@dataclass(frozen=True, slots=True)
class Given:
    """A tensor without its numbers."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


@dataclass(eq=False)
class Graph(Trace):
    """A trace that keeps its operations; `entered` and `left` are what made the inputs and the output of each call.

    `alone` is the one tensor that a call got, and nothing else, without its numbers.
    """

    operations: list[Operation] = field(default_factory=list)
    entered: dict[Call, tuple[Operation, ...]] = field(default_factory=dict)
    left: dict[Call, Operation] = field(default_factory=dict)
    alone: dict[Call, Given] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._makers: MutableMapping[Tensor, Operation] = WeakTensorKeyDictionary()
        self._ran: dict[tuple[Steps, str], int] = {}
        self._now = Operation("")

    def times(self, operation: Operation) -> int:
        """How often the function of an operation ran at its place."""
        return self._ran[operation.steps, operation.name] + 1

    def maker(self, tensor: Tensor) -> Operation:
        """The operation that made a tensor; for one of unknown make, one without operands."""
        known = self._makers.get(tensor)
        if known is None:
            constant = id(tensor) in self._buffers
            known = Operation("", size=tensor.numel(), shape=_shape(tensor), constant=constant)
            self._makers[tensor] = known
        return known

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super()._enter(module, args, kwargs)
        self.entered[self.calls[-1]] = tuple(self.maker(tensor) for tensor in tensors((args, kwargs)))
        if len(args) == 1 and not kwargs and isinstance(args[0], Tensor) and args[0].is_floating_point():
            self.alone[self.calls[-1]] = Given(_shape(args[0]), args[0].dtype, args[0].device)

    def _leave(self, output: Any) -> None:
        call = self._stack[-1]
        super()._leave(output)
        for tensor in tensors(output):
            self.left.setdefault(call, self.maker(tensor))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in OPENED:
            name, given = function_name(func), tree_leaves((args, kwargs or {}))
            where = place(self.names, sys._getframe(1)) or ()
            hit = self._ran[where, name] = self._ran.get((where, name), -1) + 1
            self._now = Operation(name, where, hit, self._stack[-1] if self._stack else None)
            self._now.weighted = any(isinstance(value, nn.Parameter) for value in given)
            self._now.constant = all(value.is_floating_point() for value in given if isinstance(value, Tensor))
            self._now.power = _power(name, args)
            self._now.span = _span(name, given)
        return super().__torch_function__(func, types, args, kwargs)

    def _propagate(
        self, func: Callable[..., Any], name: str, operands: Operands, results: list[Tensor], found: Flow
    ) -> None:
        kernels, now = len(self.kernels), self._now
        super()._propagate(func, name, operands, results, found)
        now.operands = tuple(self.maker(tensor) for tensor, _ in operands)
        now.sizes = tuple(tensor.numel() for tensor, _ in operands)
        now.size, now.shape = results[0].numel(), _shape(results[0])
        now.constant &= all(operand.constant for operand in now.operands)
        now.weighted |= any(operand.constant for operand in now.operands)
        now.opaque = len(self.kernels) > kernels
        now.mixing = now.opaque or MIXING.fullmatch(name) is not None
        now.attends = attends(name, operands)
        self.operations.append(now)
        for result in results:
            self._makers[result] = now
        if INPLACE.fullmatch(name):
            self._rewritten(results[0], now)

    def _rewritten(self, result: Tensor, now: Operation) -> None:
        """A write through a view changes its base and the other views."""
        storage = result.untyped_storage()._cdata
        for other, before in list(self._makers.items()) if storage else ():
            if other is not result and other.untyped_storage()._cdata == storage:
                sizes = (other.numel(), other.numel())
                self._makers[other] = Operation(
                    WRITE, call=now.call, operands=(before, now), sizes=sizes, size=sizes[0], shape=_shape(other)
                )


def graph(model: nn.Module, batch: Batch) -> Graph:
    """Watch one forward pass and keep its operations; the model is left as it was.

    Args:
        model: any module.
        batch: one call of it.

    Returns:
        The finished graph.

    Example:
        >>> import torch
        >>> from rankscope.records import Batch
        >>> watched = graph(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), Batch((torch.ones(2, 4),)))
        >>> [operation.name for operation in watched.operations]
        ['linear', 'relu']
    """
    watched = trace(model, batch, Graph)
    assert isinstance(watched, Graph)
    return watched


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return () if tensor.is_nested else tuple(tensor.shape)


def _power(name: str, args: tuple[Any, ...]) -> float | None:
    return float(args[-1]) if name in POWERS and args and isinstance(args[-1], int | float) else None


def _span(name: str, given: list[Any]) -> int:
    weights = [value for value in given if isinstance(value, Tensor)][1:2] if name.startswith("conv") else []
    return math.prod(weights[0].shape[2:]) if weights else 1


def ancestors(
    operations: Iterable[Operation],
    stop: Container[Operation],
    back: Callable[[Operation], Iterable[Operation]] | None = None,
) -> list[Operation]:
    """All that went into operations, they themselves included, up to where the walk stops.

    Args:
        operations: where to begin.
        stop: what is not walked past; it is left out.
        back: from an operation to those that are asked next; all of its operands where None.

    Returns:
        Each once.

    Example:
        >>> first = Operation("linear")
        >>> last = Operation("relu", operands=(first,))
        >>> [found.name for found in ancestors([last], ())]
        ['relu', 'linear']
    """
    found: dict[Operation, None] = {}
    waiting = list(operations)
    while waiting:
        operation = waiting.pop()
        if operation not in found and operation not in stop:
            found[operation] = None
            waiting += reversed(list(operation.operands if back is None else back(operation)))
    return list(found)


def within(operations: Iterable[Operation], inside: Iterable[Operation]) -> list[Operation]:
    """All that went into operations, as far as it is part of a piece of the graph.

    Args:
        operations: where to begin, part of the piece.
        inside: the piece.

    Returns:
        Each once.
    """
    piece = frozenset(inside)
    return ancestors(operations, (), lambda operation: [operand for operand in operation.operands if operand in piece])
