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

    Key = tuple[Steps, int, str]

By = Literal["input", "rows", "other"]


@dataclass(slots=True)
class Span:
    """From one tensor Y of the stream to `end` = λY + F: one add, or several without a norm between.

    `by` says what Y is: the input of the block, the rows of the span before scaled to unit norm, or what another norm
    or map made of it. Of the last λ is what the add itself, and an edit of it, multiplies by.
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

    def skip(self, operand: Tensor, factor: float | None, given: Tensor | None = None) -> None:
        """Before an add: hold its skip operand against the stream; `given` is the operand before edits."""
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
            self.spans.append(self._after(operand, factor, given))

    def _after(self, operand: Tensor, factor: float, given: Tensor | None) -> Span:
        """The span of an add whose skip is not the sum before it."""
        rows = unit(self.spans[-1].end.double())
        if (lam := multiple(operand, rows)) is not None:
            rows = rows.to(operand.dtype)
            return Span(rows, rows, lam * factor, "rows")
        if given is not None and (lam := multiple(operand, given)) is not None:
            return Span(given, given, lam * factor, "other")
        kept = operand.clone()
        return Span(kept, kept, factor, "other")

    def sum(self, total: Tensor) -> None:
        """After an add."""
        if self.why is None:
            self.spans[-1].end = total.detach().clone()

    def left_out(self, gave: Tensor) -> bool:
        """Whether the block gives what it got, as one that an edit leaves out: then it is Y' = 1·Y + 0."""
        begin = self.spans[0].begin
        if not torch.equal(begin, gave):
            return False
        self.spans, self.why = [Span(begin, begin)], None
        return True


class _Places(TorchFunctionMode):
    """Knows the residual adds of a plan when they run."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._names = plan.names
        mine = [add for add in plan.adds if add.layer is not None and add.status == "residual"]
        self._adds: dict[Key, Add] = {(add.steps, add.hit, add.operation): add for add in mine}
        self._hits: dict[tuple[Steps, str], int] = {}

    def begin(self) -> None:
        """Count the places of a new forward pass from the start."""
        self._hits.clear()

    def _key(self, name: str) -> Key:
        """Place, hit and name of an operation, counted as the trace counts; one that no plan holds for any other."""
        # An edit multiplies at the place of the add that it acts on: the name tells its product from the add.
        if name not in WATCHED or (where := place(self._names, sys._getframe(2))) is None:
            return (), 0, name
        hit = self._hits[where, name] = self._hits.get((where, name), -1) + 1
        return where, hit, name


class Given(_Places):
    """Keeps the skip operands of adds as the model has them, before edits: it is entered after these."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.operands: dict[Key, Tensor] = {}

    def begin(self) -> None:
        """Forget the operands of the last forward pass."""
        super().begin()
        self.operands.clear()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in OPENED:
            with self:
                return OPENED[func](*args, **kwargs)
        key = self._key(function_name(func))
        if (add := self._adds.get(key)) is not None:
            with torch._C.DisableTorchFunction():
                self.operands[key] = _skip(add, args, kwargs)[0].clone()  # an edit may write over it
        return func(*args, **kwargs)


class Watching(_Places):
    """Follows the residual adds of a plan; `enter` and `leave` are told where its blocks begin and end.

    Edits that are in force come between the model and this mode where it is entered before them: it then sees the
    operands that they put in place of the model's own.

    Args:
        plan: the plan.
        leave: receives each finished block, and what it gave.
    """

    def __init__(self, plan: Plan, leave: Callable[[Passage, Tensor], None]) -> None:
        super().__init__(plan)
        self._done = leave
        self.given = Given(plan)
        calls = ((key, at) for key, at in plan.values.items() if len(key[0]) > 1)  # the others are modules
        self._values = {(*key, at.operation): at for key, at in calls}
        self._attends = {at.layer for at in plan.attention.values() if at.kind == "self"}
        self._open: dict[Layer, Passage] = {}

    def begin(self) -> None:
        """Forget the last forward pass."""
        super().begin()
        self.given.begin()
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
            passage.skip(*_skip(add, args, kwargs), self.given.operands.pop(key, None))
        output = func(*args, **kwargs)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            passage.sum(output)
        return output

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
