"""Watching: what every block of a forward pass gets, adds and gives, one block at a time.

The skip of a residual add is held against the stream that it carries, so that λ is measured and not believed, whoever
multiplied by it. A block that norms the sum of an add and adds again has one `Span` for each of these adds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.overrides import TorchFunctionMode

from rankscope.capture.flow import OPENED, WATCHED, function_name, place, tensors
from rankscope.certificate.projections import Products, product
from rankscope.certificate.rounding import multiple
from rankscope.measures import unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rankscope.capture.flow import Steps
    from rankscope.capture.places import Add, Plan
    from rankscope.records import Layer

By = Literal["input", "rows", "other"]


@dataclass(slots=True)
class Span:
    """From one tensor Y of the stream to `end` = λY + F: one add, or several without a norm between.

    `by` says what Y is: the input of the block, the rows of the span before scaled to unit norm, or what another norm
    or map made of it. Of the last λ is what the add itself multiplies by.
    """

    begin: Tensor
    end: Tensor
    lam: float = 1.0
    by: By = "input"


@dataclass(slots=True)
class Passage:
    """A block that is running: its spans so far, and why they tell nothing of it, where that is so."""

    layer: Layer
    spans: list[Span] = field(default_factory=list)
    adds: int = 0
    why: str | None = None
    products: Products = field(default_factory=Products)

    def skip(self, operand: Tensor, factor: float | None) -> None:
        """Before an add: hold its skip operand against the stream."""
        self.adds += 1
        if self.why is not None:
            return
        if factor is None:
            self.why = f"its add {self.adds} weighs the skip by something else than a number"
        elif (lam := multiple(operand, self.spans[-1].end)) is not None:
            self.spans[-1].lam *= lam * factor
        elif self.adds == 1:
            self.why = "the skip of its first add is no multiple of what enters it"
        else:
            self.spans.append(self._after(operand, factor))

    def _after(self, operand: Tensor, factor: float) -> Span:
        """The span of an add whose skip is not the sum before it."""
        rows = unit(self.spans[-1].end.double())
        if (lam := multiple(operand, rows)) is not None:
            rows = rows.to(operand.dtype)
            return Span(rows, rows, lam * factor, "rows")
        kept = operand.clone()
        return Span(kept, kept, factor, "other")

    def sum(self, total: Tensor) -> None:
        """After an add."""
        if self.why is None:
            self.spans[-1].end = total.detach().clone()


class Watching(TorchFunctionMode):
    """Follows the residual adds of a plan; `enter` and `leave` are told where its blocks begin and end.

    Args:
        plan: the plan.
        leave: receives each finished block, and what it gave.
    """

    def __init__(self, plan: Plan, leave: Callable[[Passage, Tensor], None]) -> None:
        super().__init__()
        self._names, self._done = plan.names, leave
        mine = [add for add in plan.adds if add.layer is not None and add.status == "residual"]
        self._values = {key: at for key, at in plan.values.items() if len(key[0]) > 1}  # the others are modules
        self._attends = {at.layer for at in plan.attention.values() if at.kind == "self"}
        self._adds: dict[tuple[Steps, int], Add] = {(add.steps, add.hit): add for add in mine}
        self._hits: dict[Steps, int] = {}
        self._open: dict[Layer, Passage] = {}

    def begin(self) -> None:
        """Count the places of a new forward pass from the start."""
        self._hits.clear()
        self._open.clear()

    def enter(self, layer: Layer, tensor: Tensor) -> None:
        """A block begins: what it gets may be written over while it runs, so it is copied."""
        kept = tensor.detach().clone()
        self._open[layer] = Passage(layer, [Span(kept, kept)])

    def leave(self, layer: Layer, tensor: Tensor) -> None:
        """A block ends."""
        if (passage := self._open.pop(layer, None)) is not None:
            self._done(passage, tensor.detach())

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in OPENED:
            with self:
                return OPENED[func](*args, **kwargs)
        name = function_name(func)
        key = self._key(name)
        if (at := self._values.get(key)) is not None and (passage := self._open.get(at.layer)) is not None:
            passage.products.place, passage.products.values = at, list(tensors((args, kwargs)))[at.operand]
        add = self._adds.get(key)
        passage = None if add is None or add.layer is None else self._open.get(add.layer)
        if add is None or passage is None:
            output = func(*args, **kwargs)
            self._multiplied(name, args, output)
            return output
        with torch._C.DisableTorchFunction(), torch.no_grad():
            passage.skip(*_skip(add, args, kwargs))
        output = func(*args, **kwargs)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            passage.sum(output)
        return output

    def _key(self, name: str) -> tuple[Steps, int]:
        """Place and hit of an operation, counted as the trace counts; one that no plan holds for any other."""
        if name not in WATCHED or (where := place(self._names, sys._getframe(2))) is None:
            return (), 0
        hit = self._hits[where] = self._hits.get(where, -1) + 1
        return where, hit

    def _multiplied(self, name: str, args: tuple[Any, ...], output: Any) -> None:
        """Keep a product with a weight while a block with attention runs."""
        running = [passage for layer, passage in self._open.items() if layer in self._attends]
        if running and (found := product(name, args, output)) is not None:
            running[-1].products.every.append(found)


def _skip(add: Add, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, float | None]:
    """The skip operand of an add and the factor that the operation itself gives it, where that is one number."""
    operands = list(tensors((args, kwargs)))
    operand = operands[min(add.skip or 0, len(operands) - 1)].detach()
    factor: Any = 1.0
    if add.operation in {"add", "add_"} and add.skip == 1:
        factor = kwargs.get("alpha", 1.0)
    elif add.operation in {"addmm", "addmm_", "baddbmm", "baddbmm_"}:
        factor = kwargs.get("beta", 1.0)
    elif add.operation.startswith("lerp"):
        weight = kwargs.get("weight", args[2] if len(args) > 2 else None)
        factor = 1 - weight if isinstance(weight, int | float) else None
    return operand, float(factor) if isinstance(factor, int | float) else None
