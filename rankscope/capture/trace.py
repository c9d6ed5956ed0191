"""Trace: one forward pass of any torch model, watched operation by operation.

A `torch.overrides.TorchFunctionMode` sees every torch function that Python code calls, and hooks see every module.
Books are kept by tensor and die with their tensors: a trace keeps no activation alive.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from rankscope.capture.flow import (
    CREATES,
    INPLACE,
    MIXING,
    OPENED,
    RESIZES,
    SCALES,
    SCORES,
    SUMS,
    UNLEARNED,
    WATCHED,
    WHOLE_ATTENTION,
    Attending,
    Call,
    Flow,
    Site,
    Steps,
    Term,
    function_name,
    place,
    tensors,
    union,
)
from rankscope.capture.operands import attends, has_parameter, normalises, repeated, scaled
from rankscope.capture.session import call
from rankscope.capture.skips import candidate
from rankscope.capture.wrappers import named_modules
from rankscope.inputs.unchanged import compiling, eager

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from rankscope.capture.operands import Operands
    from rankscope.records import Batch


@dataclass(eq=False)
class Trace(TorchFunctionMode):
    """The function mode that keeps the books; `calls`, `sums` and `attention` are what it found.

    `kernels` are the operators outside torch's own that ran, and in which call; `norms` says for each norm that ran how
    many calls had begun; `declared` is the shape that reached the first module with a `batch_first`, and that.
    """

    model: nn.Module
    calls: list[Call] = field(default_factory=list)
    sums: list[Site] = field(default_factory=list)
    attention: list[Attending] = field(default_factory=list)
    kernels: list[tuple[Call, str]] = field(default_factory=list)
    norms: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.names = {id(module): name for name, module in named_modules(self.model)}
        self._buffers = {id(buffer) for buffer in self.model.buffers()}
        self._flows: MutableMapping[Tensor, Flow] = WeakTensorKeyDictionary()
        self.hits: dict[tuple[Steps, str], int] = {}  # the number of the last run of each function at each place
        self._stack: list[Call] = []
        self._origin_calls: list[Call | None] = []
        self._made: list[int] = []  # for each origin those near the operands that it was made of
        self._foreign = 0  # origins that no watched operation made
        self._mixed = self.products = 0  # origins near the own terms of mixed values; those made by other products
        self.valued = 0  # origins near the values of any attention call so far, and sums of such values
        self._counts: dict[int, int] = {}
        self.declared: tuple[torch.Size, bool] | None = None
        self.mixed: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()

    def _origin(self, made: int = 0) -> int:
        self._origin_calls.append(self._stack[-1] if self._stack else None)
        self._made.append(made)
        return 1 << len(self._origin_calls) - 1

    def roots(self, near: int, born: int) -> int:
        """The origins, among the first `born`, from which later ones were made.

        Args:
            near: the origins to begin with.
            born: how many origins there were before the piece of the trace that is walked back.

        Returns:
            Bit set of origins.
        """
        before, found, todo, seen = (1 << born) - 1, 0, near, 0
        while todo:
            found |= todo & before
            todo &= ~before & ~seen
            seen |= todo
            made, rest = 0, todo
            while rest:
                made |= self._made[rest.bit_length() - 1]
                rest &= ~(1 << rest.bit_length() - 1)
            todo = made
        return found

    def flow(self, tensor: Tensor) -> Flow:
        """What a tensor was made of; one seen for the first time becomes an origin."""
        known = self._flows.get(tensor)
        if known is None:
            bit = self._origin()
            known = self._flows[tensor] = Flow(near=bit, every=bit)
            self._foreign |= bit if id(tensor) not in self._buffers else 0
        return known

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of every module."""
        with torch._C.DisableTorchFunction():  # what the hooks themselves ask of tensors is none of the model's
            self._enter(module, args, kwargs)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        read = [self.flow(tensor) for tensor in tensors((args, kwargs))]
        if self.declared is None and hasattr(module, "batch_first"):
            shape = next((tensor.shape for tensor in tensors((args, kwargs)) if tensor.ndim == 3), None)
            self.declared = None if shape is None else (shape, bool(module.batch_first))
        index = self._counts[id(module)] = self._counts.get(id(module), -1) + 1
        parent = self._stack[-1] if self._stack else None
        call = Call(module, self.names[id(module)], index, parent, len(self.calls), len(self._origin_calls))
        call.streams = tuple(flow.near for flow in read)
        for flow in read:
            call.entry |= flow.every
        self.calls.append(call)
        self._stack.append(call)

    def leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Forward hook of every module."""
        del module, args, kwargs
        with torch._C.DisableTorchFunction():
            self._leave(output)

    def _leave(self, output: Any) -> None:
        call = self._stack.pop()
        call.last = len(self.calls)
        flow = next((self.flow(tensor) for tensor in tensors(output)), Flow())
        if not flow.every & call.entry and (self._foreign & flow.every) >> call.born:
            flow.every |= call.entry  # an opaque kernel made it inside this call: it may depend on all the call read
            flow.deep |= call.entry
            for number in range(call.born, flow.near.bit_length()):
                self._made[number] |= union(call.streams)
        call.exit, call.sums = flow.near, flow.sums
        call.shape = next((tuple(tensor.shape) for tensor in tensors(output) if not tensor.is_nested), ())

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in OPENED:
            with self:
                return OPENED[func](*args, **kwargs)
        name = function_name(func)
        operands = [] if CREATES.fullmatch(name) else [(t, self.flow(t)) for t in tensors((args, kwargs))]
        found = self._watch(name, operands, args, kwargs) if name in WATCHED and self._stack else Flow()
        output = func(*args, **kwargs)
        results = list(tensors(args[0] if name == "__setitem__" else output))
        if results:
            found.learned = all(f.learned for _, f in operands) if operands else has_parameter(args)
            found.normed = normalises(name, args)
            self._propagate(func, name, operands, results, found)
        return output

    def _watch(self, name: str, operands: Operands, args: Any, kwargs: Any) -> Flow:
        """Note an attention call, or a sum that may be a residual add; what it means for the result."""
        where, found = place(self.names, sys._getframe(2)), Flow()
        if where is None:
            return found
        hit = self.hits[where, name] = self.hits.get((where, name), -1) + 1
        if attends(name, operands):
            self._attending(
                Attending(where, hit, self._stack[-1], name, 0, 0, (), WHOLE_ATTENTION.get(name, 1)), operands
            )
            if name == "einsum" and isinstance(args[0], str):
                self.attention[-1].equation = args[0]
        elif name in SCALES and (number := scaled(args, operands)) is not None:
            found.scaled = Term(where, hit, number)
            found.gained = has_parameter(args) or any(flow.learned for _, flow in operands)
        elif name in SUMS and len(operands) > 1:
            found.own = self._own(name, where, hit, operands)
            site = Site(where, hit, self._stack[-1], name)
            if branch := candidate(site, args, kwargs, self.flow):
                site.origin_call = self._origin_calls[branch.near.bit_length() - 1] if branch.near else site.call
                found.sums = site.bit = 1 << len(self.sums)
                self.sums.append(site)
        return found

    def _attending(self, site: Attending, operands: Operands) -> None:
        tensor, flow = operands[site.operand]
        site.near, site.shape = flow.near, tuple(tensor.shape)
        site.keys = operands[1][1].near if site.operation in WHOLE_ATTENTION else operands[0][1].weights
        site.own, site.repeated = flow.own, flow.repeated
        self.valued |= flow.near | flow.single | self._mixed
        self.attention.append(site)

    def _own(self, name: str, where: Steps, hit: int, operands: Operands) -> Term | None:
        """In a sum of values with those of an earlier layer, the layer's own term before it was scaled."""
        largest = max(tensor.numel() for tensor, _ in operands)
        foreign = [bool(flow.near & self.valued) for _, flow in operands]
        own = [k for k, (tensor, _) in enumerate(operands) if not foreign[k] and tensor.numel() == largest]
        if not any(foreign) or not own or (own[0] and len(own) > 1 and "addcmul" in name):
            return None  # of a product it cannot be told which factor is the value
        flow = operands[own[0]][1]
        self._mixed |= flow.near
        return flow.own or flow.scaled or Term(where, hit, own[0])

    def _opaque(self, func: Callable[..., Any]) -> bool:
        """Whether an operator is none of torch's own; it is noted."""
        found = type(func).__module__ == "torch._ops" and not str(func).startswith(("aten", "prims"))
        if found and self._stack:
            self.kernels.append((self._stack[-1], str(func)))
        return found

    def _propagate(
        self, func: Callable[..., Any], name: str, operands: Operands, results: list[Tensor], found: Flow
    ) -> None:
        """Give each result its record: what its operands were made of, and what was `found` of the operation."""
        mixing = self._opaque(func) or MIXING.fullmatch(name) is not None
        summing = name in SUMS and len(operands) > 1
        new = Flow(own=found.own, learned=found.learned)
        if found.scaled:
            new.scaled, new.gained = found.scaled, found.gained
        for tensor, flow in operands:
            same_size = name in RESIZES or any(tensor.numel() == result.numel() for result in results)
            new.add(flow, near=not (mixing or summing) and same_size)
            new.own = new.own or flow.own
        new.repeated, new.single = repeated(name, operands)
        if mixing:
            new.deep, new.sums, new.weights, new.own, new.normed = new.every, 0, 0, None, False
            scoring = name in SCORES and len(operands) > 1 and not attends(name, operands)
            new.scores = operands[-1][1].near if scoring else 0
            self.products |= (scoring and not summing) << len(self._origin_calls)
            if not UNLEARNED.match(name):
                new.once, new.twice = new.every, new.twice | new.once
        elif "softmax" in name:
            new.weights, new.scores = new.scores, 0
        if found.normed and results[0].numel() > 1:
            self.norms.append(len(self.calls))
        new.normed = found.normed or (new.normed and not summing)
        if not new.near:
            new.near = self._origin(union(flow.near for _, flow in operands))
            new.every |= new.near
            if summing and all(flow.near & self.valued for _, flow in operands):
                self.valued |= new.near
        new.sums |= found.sums
        for result in results:
            self._flows[result] = replace(new)
        if INPLACE.fullmatch(name):
            self._written(results[0], new)

    def _written(self, result: Tensor, new: Flow) -> None:
        """A write through a view reaches its base and the other views."""
        storage = result.untyped_storage()._cdata
        for other, flow in self._flows.items() if storage else ():
            if other is not result and other.untyped_storage()._cdata == storage:
                flow.add(new)


def trace(model: nn.Module, batch: Batch, kind: type[Trace] = Trace) -> Trace:
    """Watch one forward pass; the model is left as it was.

    Args:
        model: any module.
        batch: one call of it.
        kind: what keeps the books.

    Returns:
        The finished trace.

    Example:
        >>> from rankscope.records import Batch
        >>> watched = trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), Batch((torch.ones(2, 4),)))
        >>> [call.name for call in watched.calls]
        ['', '0', '1']
    """
    watched, compiled = kind(model), compiling()
    handles = []
    try:
        for _, module in named_modules(model):
            handles.append(module.register_forward_pre_hook(watched.enter, prepend=True, with_kwargs=True))
            handles.append(module.register_forward_hook(watched.leave, with_kwargs=True))
        with eager(), watched:
            call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return trace(model, batch, kind) if compiling() and not compiled else watched  # now as it was written
