"""Actions: what an edit does, and where: at one torch call, at one call of a module, at the start of a forward pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rankscope.capture.flow import BRANCH_KEYWORDS, INPLACE, PRODUCTS, SUMS, tensors
from rankscope.errors import CaptureError

if TYPE_CHECKING:
    from rankscope.capture.flow import Steps
    from rankscope.capture.places import Add, Place, ValuePlace
    from rankscope.records import Layer

Rewrite = Callable[[Tensor], Tensor | None]
"""What to use in place of a tensor; None leaves it, and the call untouched."""
ValueRewrite = Callable[["Tensor | None", "Tensor | None", Tensor], Tensor | None]
"""Queries, keys and values as the call has them go in; None stands for those it does not have."""


@dataclass(slots=True)
class TorchCall:
    """One call of a torch function while the model runs; an action may change `args` and `kwargs`.

    `recomputing`: activation checkpointing runs it again, in the backward pass.
    """

    function: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    recomputing: bool = False

    def run(self) -> Any:
        """Call the function.

        Returns:
            What it gives.
        """
        return self.function(*self.args, **self.kwargs)

    def tensor(self, number: int) -> Tensor:
        """A floating operand.

        Args:
            number: its number among those that `flow.tensors` lists, parameters left out.

        Returns:
            The operand.
        """
        return list(tensors((self.args, self.kwargs)))[number]

    def put(self, number: int, new: Tensor) -> None:
        """Replace a floating operand.

        Args:
            number: as in `tensor`.
            new: what to use in its place.
        """
        self.args, self.kwargs = replaced((self.args, self.kwargs), number, new)


@dataclass(frozen=True, slots=True)
class AtCall:
    """Act on one torch call: `before` it (on its operands), `instead` of it, or `after` it (on its result).

    `steps` and `hit` are the place, as in a plan, and `operation` the name of the function that runs there, by which
    its hits are counted; `what` is a noun for the count that a report gives, such as "residual add"; `times` says how
    often the function runs there, where the plan does not.
    """

    steps: Steps
    hit: int
    operation: str
    layer: Layer | None
    what: str
    before: Callable[[TorchCall], None] | None = None
    instead: Callable[[TorchCall], Any] | None = None
    after: Callable[[TorchCall, Any], Any] | None = None
    times: int = 0


@dataclass(frozen=True, slots=True)
class AtModule:
    """Act on one call of a module: on its arguments `before` it, or on its output `after` it.

    `before` takes and gives (args, kwargs); `after` takes (args, kwargs), as the module got them, and the output, and
    gives the output to use. `replaced` puts a tensor into either.
    """

    module_name: str
    call: int
    layer: Layer | None
    what: str
    before: Callable[[tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]] | None = None
    after: Callable[[tuple[Any, ...], dict[str, Any], Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class AtStart:
    """Run something when a forward pass of the model begins, not when a part of it is recomputed."""

    run: Callable[[], None]


Action = AtCall | AtModule | AtStart


def on_skip(add: Add, rewrite: Rewrite) -> AtCall:
    """Rewrite the skip of a sum: skip + f becomes rewrite(skip) + f, also in place (``x += f``).

    Args:
        add: the sum.
        rewrite: the skip goes in.

    Returns:
        The action.

    Raises:
        CaptureError: the skip is a mixture of several streams: there is no one skip to rewrite.
    """
    if add.mixed:
        raise CaptureError(
            "RS453",
            f"{add.module or 'the model'}: its skip is a mixture of several streams, by a matrix made of activations",
            details=[("so", "no one skip stands beside the branch; λ has no meaning there")],
        )

    def before(call: TorchCall) -> None:
        _rewrite(call, add.skip or 0, rewrite)

    return AtCall(add.steps, add.hit, add.operation, add.layer, _noun(add), before=before)


def on_branch(add: Add, rewrite: Rewrite) -> AtCall:
    """Rewrite the branch of a sum: skip + f becomes skip + rewrite(f).

    Args:
        add: the sum.
        rewrite: the branch goes in.

    Returns:
        The action.

    Raises:
        CaptureError: the sum makes its branch itself, such as addmm and addcmul.
    """
    if SUMS[add.operation] != (1,) or "lerp" in add.operation:
        raise CaptureError("RS456", f"{add.module or 'the model'}: {add.operation} makes its branch itself")

    def before(call: TorchCall) -> None:
        _rewrite(call, 1 - (add.skip or 0), rewrite)

    return AtCall(add.steps, add.hit, add.operation, add.layer, _noun(add), before=before)


def on_values(place: ValuePlace, key: tuple[Steps, int], rewrite: ValueRewrite) -> AtCall:
    """Rewrite the values of an attention call.

    Args:
        place: the call in `Plan.values`; not one of `Plan.value_modules`.
        key: its key there.
        rewrite: queries, keys and values as the call has them go in; of softmax(scores) @ values, None and None first.

    Returns:
        The action.
    """

    def before(call: TorchCall) -> None:
        found = list(tensors((call.args, call.kwargs)))
        queries, keys = (None, None) if call.name in PRODUCTS else (found[0], found[1])
        new = rewrite(queries, keys, found[place.operand])
        if new is not None:
            call.put(place.operand, new)

    return AtCall(*key, place.operation, place.layer, "attention call", before=before)


def at_output(place: Place, what: str, after: Callable[[tuple[Any, ...], dict[str, Any], Any], Any]) -> AtModule:
    """Replace what a place of the plan gives.

    Args:
        place: a module call.
        what: the noun of the count.
        after: see `AtModule`.

    Returns:
        The action.
    """
    return AtModule(place.module_name, place.call, place.layer, what, after=after)


def _noun(add: Add) -> str:
    return "residual add" if add.status == "residual" else f"{add.status} sum"


def _rewrite(call: TorchCall, position: int, rewrite: Rewrite) -> None:
    """Rewrite an operand of a sum; one that the call writes into is written, since others hold that very tensor."""
    key: str | int = position
    if key == 0 and not call.args:
        key = "input"
    elif key == 1 and len(call.args) < 2:
        key = next(word for word in BRANCH_KEYWORDS if word in call.kwargs)
    old = call.kwargs[key] if isinstance(key, str) else call.args[key]
    writes = key == 0 and INPLACE.fullmatch(call.name) is not None
    new = rewrite(old.clone() if writes and torch.is_grad_enabled() else old)
    if new is None:
        return
    if writes:
        _unshare(call, old)
        new = old.copy_(new)
    if isinstance(key, str):
        call.kwargs = {**call.kwargs, key: new}
    else:
        call.args = (*call.args[:key], new, *call.args[key + 1 :])


def _unshare(call: TorchCall, written: Tensor) -> None:
    """Copy the operands that lie in the memory that is about to be written."""
    home = written.untyped_storage()._cdata
    for number, other in enumerate(tensors((call.args, call.kwargs))):
        if number and other is not written and other.untyped_storage()._cdata == home:
            call.put(number, other.clone())


def replaced(data: Any, number: int, new: Tensor) -> Any:
    """Nested data with one of its floating tensors replaced.

    Args:
        data: tensors in tuples, lists, dicts and dataclasses, such as what a module returns.
        number: which, among those that `flow.tensors` lists.
        new: what stands in its place.

    Returns:
        Data of the same form; containers on the way are copied.

    Example:
        >>> replaced((torch.zeros(1), [torch.zeros(1)]), 1, torch.ones(1))
        (tensor([0.]), [tensor([1.])])
    """
    found, _ = _replaced(data, number, new)
    return found


def _replaced(data: Any, number: int, new: Tensor) -> tuple[Any, int]:
    """The data, and how many of its tensors come before `number` still."""
    if isinstance(data, Tensor):
        counts = next(tensors(data), None) is not None
        return (new if counts and number == 0 else data), number - counts
    if isinstance(data, dict):
        items = []
        for key, value in data.items():
            item, number = _replaced(value, number, new)
            items.append((key, item))
        return _like(data, items), number
    if isinstance(data, list | tuple):
        parts = []
        for value in data:
            item, number = _replaced(value, number, new)
            parts.append(item)
        return (type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)), number
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        changes = {}
        for field in dataclasses.fields(data):
            changes[field.name], number = _replaced(getattr(data, field.name, None), number, new)
        return dataclasses.replace(data, **changes), number
    return data, number


def _like(data: dict[Any, Any], items: list[tuple[Any, Any]]) -> Any:
    """A dict of the same class: the outputs of transformers are dataclasses as well, which take keywords."""
    return type(data)(**dict(items)) if dataclasses.is_dataclass(data) else type(data)(items)
