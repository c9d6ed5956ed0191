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
    PRODUCTS,
    RESIZES,
    SCORES,
    SUMS,
    UNLEARNED,
    VALUES,
    WHOLE_ATTENTION,
    Call,
    Flow,
    Site,
    Steps,
    function_name,
    place,
    tensors,
)
from rankscope.capture.session import call
from rankscope.capture.skips import candidate
from rankscope.capture.wrappers import named_modules

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from rankscope.records import Batch

Operands = list[tuple[Tensor, Flow]]


@dataclass(eq=False)
class Trace(TorchFunctionMode):
    """The function mode that keeps the books; `calls`, `sums` and `attention` are what it found.

    `declared` is the shape that reached the first module with a `batch_first` attribute, and that attribute.
    """

    model: nn.Module
    calls: list[Call] = field(default_factory=list)
    sums: list[Site] = field(default_factory=list)
    attention: list[Site] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.names = {id(module): name for name, module in named_modules(self.model)}
        self._buffers = {id(buffer) for buffer in self.model.buffers()}
        self._flows: MutableMapping[Tensor, Flow] = WeakTensorKeyDictionary()
        self._hits: dict[Steps, int] = {}
        self._stack: list[Call] = []
        self._origin_calls: list[Call | None] = []
        self._foreign = 0  # origins that no watched operation made
        self._counts: dict[int, int] = {}
        self.declared: tuple[torch.Size, bool] | None = None

    def _origin(self) -> int:
        self._origin_calls.append(self._stack[-1] if self._stack else None)
        return 1 << len(self._origin_calls) - 1

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
        call = self._stack.pop()
        call.last = len(self.calls)
        flow = next((self.flow(tensor) for tensor in tensors(output)), Flow())
        if not flow.every & call.entry and (self._foreign & flow.every) >> call.born:
            flow.every |= call.entry  # an opaque kernel made it inside this call: it may depend on all the call read
            flow.deep |= call.entry
        call.exit, call.sums = flow.near, flow.sums

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in OPENED:
            with self:
                return OPENED[func](*args, **kwargs)
        name = function_name(func)
        operands = [] if CREATES.fullmatch(name) else [(t, self.flow(t)) for t in tensors((args, kwargs))]
        site = self._site(name, operands, args, kwargs)
        output = func(*args, **kwargs)
        results = list(tensors(args[0] if name == "__setitem__" else output))
        if results:
            self._propagate(func, name, operands, results, site)
        return output

    def _site(self, name: str, operands: Operands, args: Any, kwargs: Any) -> Site | None:
        """Note an attention call; return the site of a sum that may be a residual add."""
        if (name not in SUMS and name not in VALUES) or not self._stack:
            return None
        where = place(self.names, sys._getframe(2))
        if where is None:
            return None
        hit = self._hits[where] = self._hits.get(where, -1) + 1
        site = Site(where, hit, self._stack[-1], name)
        if _attends(name, operands):
            flow = operands[2 if name in WHOLE_ATTENTION else 1][1]
            site.repeated, site.origins = flow.repeated, flow.every
            self.attention.append(site)
        branch = candidate(site, args, kwargs, self.flow) if name in SUMS and len(operands) > 1 else None
        if branch is None:
            return None
        site.origin_call = self._origin_calls[branch.near.bit_length() - 1] if branch.near else site.call
        site.bit = 1 << len(self.sums)
        self.sums.append(site)
        return site

    def _propagate(
        self,
        func: Callable[..., Any],
        name: str,
        operands: Operands,
        results: list[Tensor],
        site: Site | None,
    ) -> None:
        """Give each result its record."""
        operator = type(func).__module__ == "torch._ops" and not str(func).startswith(("aten", "prims"))
        mixing = operator or MIXING.fullmatch(name) is not None
        summing = name in SUMS and len(operands) > 1
        new = Flow(repeated=_repeated(name, operands))
        for tensor, flow in operands:
            same_size = name in RESIZES or any(tensor.numel() == result.numel() for result in results)
            new.add(flow, near=not (mixing or summing) and same_size)
        if mixing:
            new.deep, new.sums, new.weights = new.every, 0, False
            new.scores = name in SCORES and len(operands) > 1 and not _attends(name, operands)
            if not UNLEARNED.match(name):
                new.once, new.twice = new.every, new.twice | new.once
        elif "softmax" in name:
            new.weights, new.scores = new.scores, False
        if not new.near:
            new.near = self._origin()
            new.every |= new.near
        if site is not None:
            new.sums |= site.bit
        for result in results:
            self._flows[result] = replace(new)
        if INPLACE.fullmatch(name) and (storage := results[0].untyped_storage()._cdata):
            for other, flow in self._flows.items():  # a write through a view reaches its base and the other views
                if other is not results[0] and other.untyped_storage()._cdata == storage:
                    flow.add(new)


def _attends(name: str, operands: Operands) -> bool:
    """Whether this call mixes values: the whole of attention in one call, or a softmax of scores times something."""
    if name in WHOLE_ATTENTION:
        return len(operands) > 2
    return name in PRODUCTS and len(operands) > 1 and operands[0][1].weights


def _repeated(name: str, operands: Operands) -> torch.Size | None:
    if not operands:
        return None
    if name in {"expand", "repeat_interleave"}:
        return operands[0][0].shape
    return operands[0][1].repeated if name in {"reshape", "view"} else None


def trace(model: nn.Module, batch: Batch) -> Trace:
    """Watch one forward pass; the model is left as it was.

    Args:
        model: any module.
        batch: one call of it.

    Returns:
        The finished trace.

    Example:
        >>> from rankscope.records import Batch
        >>> watched = trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), Batch((torch.ones(2, 4),)))
        >>> [call.name for call in watched.calls]
        ['', '0', '1']
    """
    watched = Trace(model)
    handles = []
    try:
        for _, module in named_modules(model):
            handles.append(module.register_forward_pre_hook(watched.enter, with_kwargs=True))
            handles.append(module.register_forward_hook(watched.leave, with_kwargs=True))
        with torch.compiler.set_stance("force_eager"), watched:
            call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return watched
