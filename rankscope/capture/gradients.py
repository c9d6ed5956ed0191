"""Gradients: one backward pass of a scalar loss, with respect to every place and every weight matrix of the blocks."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from rankscope.capture.losses import loss_of
from rankscope.capture.session import forward
from rankscope.records import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rankscope.capture.places import Place, Plan


@dataclass(frozen=True, slots=True)
class Gradients:
    """∂L/∂Y(k) by place, ∂L/∂W by (place, parameter name), and the name of the loss; None where L does not depend."""

    activations: dict[Place, Tensor | None] = field(default_factory=dict)
    weights: dict[tuple[Place, str], Tensor | None] = field(default_factory=dict)
    loss: str = ""


def gradients(
    model: nn.Module, batch: Batch, plan: Plan, loss: str | Callable[[Any, Batch], Tensor], *, weights: bool
) -> Gradients:
    """Run one forward and backward pass; `.grad` of no parameter is read or written.

    The gradient of an activation is that of the value it had when its layer gave it, also where later operations
    write into it. Parameters that are frozen are treated as if they were not, for this pass alone.

    Args:
        model: the model.
        batch: the arguments of the call.
        plan: the places.
        loss: see `losses.loss_of`.
        weights: whether the weight matrices of the blocks are asked for.

    Returns:
        The gradients.
    """
    edges: dict[Place, GradientEdge] = {}

    def note_edge(place: Place, tensor: Tensor) -> None:
        if tensor.requires_grad:
            edges[place] = get_gradient_edge(tensor)

    with torch.enable_grad(), _unfrozen(model):
        leaves = Batch(_leaves(batch.args), _leaves(dict(batch.kwargs)), batch.keep)
        output = forward(model, leaves, plan, note_edge)
        scalar, name = loss_of(loss, model, output, batch)
        matrices = _matrices(plan) if weights else {}
        wanted: list[Any] = [*edges.values(), *matrices.values()]
        found: Sequence[Tensor | None] = torch.autograd.grad(scalar, wanted, allow_unused=True) if wanted else ()
    by_edge = dict(zip(edges, found, strict=False))
    by_weight = dict(zip(matrices, found[len(edges) :], strict=True))
    return Gradients({place: by_edge.get(place) for place in plan.places}, by_weight, name)


def _leaves(data: Any) -> Any:
    """Floating inputs as results of a leaf that requires gradients, so that the input of the first block has one."""

    def leaf(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.detach().requires_grad_().clone()
        return value

    return torch.utils._pytree.tree_map(leaf, data)


@contextlib.contextmanager
def _unfrozen(model: nn.Module) -> Iterator[None]:
    frozen = [p for p in model.parameters() if not p.requires_grad and (p.is_floating_point() or p.is_complex())]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _matrices(plan: Plan) -> dict[tuple[Place, str], nn.Parameter]:
    """The weight matrices of the blocks, each at the first place that holds it."""
    seen: set[int] = set()
    found: dict[tuple[Place, str], nn.Parameter] = {}
    for place in plan.places:
        if place.entering:
            continue
        for name, parameter in place.module.named_parameters():
            if parameter.ndim >= 2 and parameter.is_floating_point() and id(parameter) not in seen:
                seen.add(id(parameter))
                found[place, f"{place.module_name}.{name}".lstrip(".")] = parameter
    return found
