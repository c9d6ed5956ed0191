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
from rankscope.measures import unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rankscope.capture.flow import Steps
    from rankscope.capture.places import Add, Plan
    from rankscope.records import Layer

By = Literal["input", "rows", "other"]
_LEAST = 1e-6  # relative difference of what is equal up to rounding, of float32 and finer


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


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal up to the rounding of their dtype.

    Args:
        one: any floating tensor.
        other: of any shape.

    Returns:
        Whether their difference is small against the larger.

    Example:
        >>> close(torch.ones(3), torch.ones(3) + 1e-7), close(torch.ones(3), torch.zeros(3))
        (True, False)
    """
    if one.shape != other.shape:
        return False
    if torch.equal(one, other):
        return True
    a, b = one.double(), other.double()
    return bool((a - b).norm() <= slack(one.dtype) * torch.maximum(a.norm(), b.norm()))


def slack(dtype: torch.dtype) -> float:
    """The relative difference that rounding makes.

    Args:
        dtype: of an activation.

    Returns:
        A few of its eps.
    """
    return max(_LEAST, 4 * torch.finfo(dtype).eps)


def multiple(operand: Tensor, stream: Tensor) -> float | None:
    """λ with operand = λ·stream, up to rounding.

    Args:
        operand: any floating tensor.
        stream: of as many numbers.

    Returns:
        λ; None where the one is no multiple of the other, or either is not finite, or the stream is zero.

    Example:
        >>> multiple(torch.tensor([2.0, -4.0]), torch.tensor([1.0, -2.0])), multiple(torch.ones(2), torch.eye(2)[0])
        (2.0, None)
    """
    if operand.is_nested or stream.is_nested or operand.numel() != stream.numel():
        return None
    a, b = operand.double().flatten(), stream.double().flatten()
    size = b @ b
    lam = (a @ b) / size
    near = (a - lam * b).norm() <= slack(operand.dtype) * a.norm()
    return _round(lam.item()) if bool(near & (size > 0) & lam.isfinite()) else None


def _round(lam: float) -> float:
    """λ without the noise that float32 leaves in it: 0.9000000043 was 0.9."""
    short = float(f"{lam:.6g}")
    return short if abs(lam - short) <= 1e-7 * abs(lam) else lam


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
        add = self._add(name)
        passage = None if add is None or add.layer is None else self._open.get(add.layer)
        if add is None or passage is None:
            return func(*args, **kwargs)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            passage.skip(*_skip(add, args, kwargs))
        output = func(*args, **kwargs)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            passage.sum(output)
        return output

    def _add(self, name: str) -> Add | None:
        """The residual add that an operation is, counted as the trace counts."""
        if name not in WATCHED or (where := place(self._names, sys._getframe(2))) is None:
            return None
        hit = self._hits[where] = self._hits.get(where, -1) + 1
        return self._adds.get((where, hit))


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
