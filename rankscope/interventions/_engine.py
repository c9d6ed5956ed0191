"""Engine: carries out actions while a model runs, by place and hit, in forward and backward passes."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rankscope.capture.flow import OPENED, WATCHED, function_name, opened, place, tensors
from rankscope.capture.wrappers import inner, named_modules
from rankscope.errors import CaptureError
from rankscope.interventions._actions import AtCall, AtModule, AtStart, TorchCall
from rankscope.interventions._regions import Regions
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch.utils.hooks import RemovableHandle

    from rankscope.capture.places import Plan
    from rankscope.interventions._actions import Action
    from rankscope.interventions._regions import Key

    Hook = Callable[..., Any]

_BACKWARD = {f: opened(f) for f in (Tensor.backward, torch.autograd.backward, torch.autograd.grad)}


@contextlib.contextmanager
def in_force(model: nn.Module, plan: Plan, actions: Iterable[Action], *, insist: bool = True) -> Iterator[None]:
    """Carry out actions in every forward and backward pass inside; everything is gone afterwards, whatever happened.

    Args:
        model: the model that was traced.
        plan: what was traced of it.
        actions: what to do, in order.
        insist: whether it is an error to leave without any forward pass, or before a backward pass that would run the
            model again; what was raised inside is never hidden by it.

    Yields:
        Nothing.
    """
    engine = Engine(model, plan, actions)
    try:
        engine.hook()
        with engine:
            yield
    finally:
        engine.unhook()
    if insist:
        engine.insist()


class Engine(TorchFunctionMode):
    """The function mode and the hooks that carry out actions.

    Hits of a place are counted anew in each forward pass of the model, and for each function that runs there.

    Args:
        model: the model, whose forward passes are checked at their end.
        plan: what was traced of it.
        actions: what to do, in order.
    """

    def __init__(self, model: nn.Module, plan: Plan, actions: Iterable[Action]) -> None:
        super().__init__()
        self._model, self._names = inner(model), plan.names
        self._calls: dict[Key, dict[int, list[AtCall]]] = {}
        self._modules: dict[Key, dict[int, list[AtModule]]] = {}
        self._starts: list[AtStart] = []
        for action in actions:
            if isinstance(action, AtCall):
                self._calls.setdefault((action.steps, action.operation), {}).setdefault(action.hit, []).append(action)
            elif isinstance(action, AtModule):
                self._modules.setdefault((action.module_name,), {}).setdefault(action.call, []).append(action)
            else:
                self._starts.append(action)
        self._watched = WATCHED | {operation for _, operation in self._calls}
        self._last = {key: max(hits) for places in (self._calls, self._modules) for key, hits in places.items()}
        traced: dict[Key, int] = {(name,): count for name, count in plan.calls.items()}
        traced |= plan.hits
        each = (action for hits in self._calls.values() for acting in hits.values() for action in acting)
        traced |= {(action.steps, action.operation): action.times for action in each if action.times}
        self._counts = {key: traced.get(key, last + 1) for key, last in self._last.items()}
        self._hits: dict[Key, int] = {}
        self._running = self._ran = False
        self._regions = Regions()
        self._handles: list[RemovableHandle] = []

    def hook(self) -> None:
        """Put hooks on the model, and on every module that an action is for."""
        self._handles.append(self._model.register_forward_pre_hook(self._begin, prepend=True))
        for name, module in named_modules(self._model):
            if (name,) in self._modules:
                enter, leave = self._hooks((name,))
                self._handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
                self._handles.append(module.register_forward_hook(leave))
        self._handles.append(self._model.register_forward_hook(self._end))

    def unhook(self) -> None:
        """Take the hooks away again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._regions.close()

    def insist(self) -> None:
        """See that no edit was left out silently, when the context ends.

        Raises:
            CaptureError: the model never ran, or a backward pass would run it again without the edits.
        """
        if not self._ran and not self._hits:
            raise CaptureError(
                "RS457",
                "the model never ran while its edits were in force",
                remedies=[
                    ("Run it in time", "call the model inside the context"),
                    ("Edit the model that is called", "the edit is for this one module, none of its copies"),
                ],
            )
        if not self._ran:
            self._check()
        if self._regions.waiting:
            raise CaptureError(
                "RS454",
                "the edit ended before the backward pass, in which activation checkpointing runs the model again",
                details=[("would be", "gradients of the model without the edit, silently")],
                remedies=[
                    ("Take the gradients in time", "call backward() inside the context"),
                    ("Or do without them", "run the model under torch.no_grad()"),
                ],
            )

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in OPENED:
            with self:
                return OPENED[func](*args, **kwargs)
        if func in _BACKWARD:
            return self._backward(func, args, kwargs)
        name = function_name(func)
        if name not in self._watched or (key := self._key(name)) is None:
            return func(*args, **kwargs)
        again = torch._C._current_graph_task_id() != -1
        hit = self._number(key, recomputing=again)
        actions = [] if hit is None else self._calls[key].get(hit, [])
        if not actions or hit is None:
            return func(*args, **kwargs)
        output = _carried_out(TorchCall(func, name, args, kwargs, again), actions)
        if not again:
            self._regions.note(key, hit, any(tensor.requires_grad for tensor in tensors((args, kwargs, output))))
        return output

    def _key(self, name: str) -> Key | None:
        """The place of an operation, if any action is for it."""
        where = place(self._names, sys._getframe(2))
        return next((key for key in ((where, name), (where, "")) if key in self._calls), None)

    def _backward(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A backward pass, in which checkpointed parts of the model run again, with the edits in force."""
        try:
            with self:
                return _BACKWARD[func](*args, **kwargs)
        finally:
            self._regions.end()

    def _number(self, key: Key, *, recomputing: bool) -> int | None:
        """Which hit of a place this is; None where its forward pass was not run with the edits."""
        if recomputing:
            return self._regions.again(key, self._counts[key])
        hit = self._hits[key] = self._hits.get(key, -1) + 1
        return hit if self._running else hit % self._counts[key]  # else a part of the model is called by itself

    def _begin(self, module: nn.Module, args: Any) -> None:
        """Forward pre-hook of the model."""
        del module, args
        if torch._C._current_graph_task_id() != -1:
            return
        self._hits.clear()
        self._regions.begin()
        self._running = True
        for start in self._starts:
            start.run()

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forward hook of the model."""
        del module, args, output
        if torch._C._current_graph_task_id() != -1:
            return
        self._running, self._ran = False, True
        self._regions.close()
        self._check()
        self._hits.clear()

    def _check(self) -> None:
        """Every place of every action was reached, and no place more often than when the model was traced."""
        missed = [key for key, last in self._last.items() if self._hits.get(key, -1) < last]
        often = [key for key, count in self._counts.items() if self._ran and self._hits.get(key, -1) >= count]
        if not (wrong := missed or often):
            return
        how = "were not reached" if missed else "ran more often than when the model was traced"
        raise CaptureError(
            "RS452",
            f"the model did not run as edited: {len(wrong)} of the {len(self._last)} places of the edit {how}",
            details=[("first", _shown(wrong[0]))],
            remedies=[
                ("Edit it as it runs", "make the edit with inputs of the same kind, in the same mode"),
                ("Edit the model that is called", "the edit is for this one module, called inside its context"),
            ],
        )

    def _hooks(self, key: Key) -> tuple[Hook, Hook]:
        """The hooks of one module."""
        actions = self._modules[key]
        waiting: list[Any] = []  # the calls that have not ended

        def enter(module: nn.Module, args: Any, kwargs: Any) -> Any:
            del module
            again = torch._C._current_graph_task_id() != -1
            hit = self._number(key, recomputing=again)
            acting = [] if hit is None else actions.get(hit, [])
            for action in acting:
                args, kwargs = action.before(args, kwargs) if action.before else (args, kwargs)
            waiting.append((acting, args, kwargs))
            if acting and not again and hit is not None:
                self._regions.note(key, hit, any(tensor.requires_grad for tensor in tensors((args, kwargs))))
            return args, kwargs

        def leave(module: nn.Module, args: Any, output: Any) -> Any:
            del module, args
            acting, given, named = waiting.pop()
            for action in acting:
                output = action.after(given, named, output) if action.after else output
            return output

        return enter, leave


def _shown(key: Key) -> str:
    """A place in words."""
    if len(key) == 1:
        return f"the call of {display_name(key[0]) or 'the model'}"
    return f"{key[1] or 'an operation'} in {display_name(str(key[0][0])) or 'the forward of the model'}"


def _carried_out(call: TorchCall, actions: Iterable[AtCall]) -> Any:
    """The call with its actions: before it in their order, the last `instead`, then after it in their order."""
    run: Callable[[TorchCall], Any] = TorchCall.run
    for action in actions:
        if action.before:
            action.before(call)
        run = action.instead or run
    output = run(call)
    for action in actions:
        output = action.after(call, output) if action.after else output
    return output
