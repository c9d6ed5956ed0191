"""Gradients: one backward pass of a scalar loss, with respect to every place and every weight matrix of the blocks."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from rankscope.capture.factors import factors, uses, watched_packing
from rankscope.capture.layout import Unmeasurable, whole
from rankscope.capture.losses import loss_of
from rankscope.capture.session import forward
from rankscope.capture.wrappers import named_parameters
from rankscope.records import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rankscope.capture.places import Place, Plan


Weight = Tensor | tuple[Tensor, Tensor]
"""∂L/∂W, or its factors: (tokens, outputs) and (tokens, inputs) of leftᵀ right."""
Key = tuple["Place", str]
Owned = tuple["nn.Module", str]


@dataclass(frozen=True, slots=True)
class Gradients:
    """∂L/∂Y(k) by place, ∂L/∂W by (place, parameter name), and the name of the loss; None where L does not depend.

    `offloaded` are weights that are elsewhere between the calls of their module, so that no gradient reaches them.
    """

    activations: dict[Place, Tensor | None] = field(default_factory=dict)
    weights: dict[Key, Weight | None] = field(default_factory=dict)
    loss: str = ""
    offloaded: frozenset[Key] = frozenset()


def gradients(
    model: nn.Module,
    batch: Batch,
    plan: Plan,
    loss: str | Callable[[Any, Batch], Tensor],
    *,
    weights: bool,
    factored: bool = False,
    run: Callable[[Batch, Callable[[Place, Tensor], None]], Any] | None = None,
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
        factored: whether gradients of weights over few tokens may be given as factors.
        run: runs the forward pass, showing every place and its activation to what it is given; a plain one where None.

    Returns:
        The gradients.

    Raises:
        Unmeasurable: no gradient arrives anywhere, or not all of it.
    """
    edges: dict[Place, _Edge] = {}

    def note_edge(place: Place, tensor: Tensor) -> None:
        if tensor.requires_grad:
            edges[place] = _Edge(get_gradient_edge(tensor), *_memory(tensor))

    matrices = _matrices(plan) if weights else {}
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        _unfrozen(model),
        _differentiable(model),
        _used(matrices) as used,
        watched_packing() as packed,
    ):
        leaves = Batch(_leaves(batch.args), _leaves(dict(batch.kwargs)), batch.keep)
        output = run(leaves, note_edge) if run else forward(model, leaves, plan, note_edge)
        scalar, name = loss_of(loss, model, output, batch)
        if not scalar.requires_grad:
            raise Unmeasurable("its forward runs under no_grad or inference_mode, or detaches what it returns")
        del output  # logits are large
        firsts = [edge.made for edge in edges.values()]
        bases = {place: edge.base for place, edge in edges.items() if edge.base is not None}
        parameters = [used.get(place, getattr(*place)) for place in matrices.values()]
        products = uses(scalar, parameters) if factored and not packed else [None] * len(parameters)
        formed = [parameter for parameter, use in zip(parameters, products, strict=True) if use is None]
        arriving = [edge for use in products for _, edge in use or ()]
        found = iter(_backward(scalar, [*firsts, *bases.values(), *formed, *arriving]))
        by_edge, by_base = ({place: next(found) for place in places} for places in (edges, bases))
        dense = iter([None if part is None else whole(part) for part in itertools.islice(found, len(formed))])
        by_weight: dict[Key, Weight | None] = {}
        for key, use in zip(matrices, products, strict=True):
            inputs = [x for x, _ in use or ()]
            by_weight[key] = next(dense) if use is None else factors(inputs, [next(found) for _ in inputs])
    for place, gradient in by_base.items():
        if by_edge[place] is None and gradient is not None:
            by_edge[place] = edges[place].seen_from(gradient)
    offloaded = frozenset(key for key, parameter in zip(matrices, parameters, strict=True) if parameter.is_meta)
    return Gradients({place: by_edge.get(place) for place in plan.places}, by_weight, name, offloaded)


@dataclass(frozen=True, slots=True)
class _Edge:
    """Where the gradient of an activation arrives.

    `base` is the edge of the tensor that the activation is a view of: an in-place write into the view takes the view's
    own edge out of the graph. `shape`, `stride` and `offset` are those of the activation in the memory of its base.
    """

    made: GradientEdge
    base: GradientEdge | None = None
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    offset: int = 0

    def seen_from(self, gradient: Tensor) -> Tensor:
        """The gradient of the base as that of the activation."""
        return gradient.contiguous().as_strided(self.shape, self.stride, self.offset)


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    """The base of a view that covers all of it, and how; nothing for any other tensor."""
    base = tensor._base if type(tensor) is Tensor and not tensor.is_nested else None
    if base is None or base.grad_fn is None or base.numel() != tensor.numel() or not base.is_contiguous():
        return ()
    return (
        get_gradient_edge(base),
        tuple(tensor.shape),
        tensor.stride(),
        tensor.storage_offset() - base.storage_offset(),
    )


def _backward(scalar: Tensor, wanted: Sequence[Any]) -> Sequence[Tensor | None]:
    """Gradients of a scalar; an operation without a derivative, which torch only warns of, makes them undefined."""
    if not wanted:
        return ()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="(?s).*an autograd kernel was not registered")
        try:
            return torch.autograd.grad(scalar, wanted, allow_unused=True)
        except UserWarning as warning:
            operation = str(warning).partition(":  ")[0].partition(": an")[0]
            raise Unmeasurable(f"{operation} has no derivative") from warning


def _leaves(data: Any) -> Any:
    """Floating inputs as results of a leaf that requires gradients, so that the input of the first block has one."""

    def leaf(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_inference():
            value = value.clone()
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


@contextlib.contextmanager
def _differentiable(model: nn.Module) -> Iterator[None]:
    """Reentrant checkpoints, which `torch.autograd.grad` cannot pass, keep what they made; DDP does not synchronise."""
    checkpoints: Any = torch.utils.checkpoint
    reentrant = checkpoints.CheckpointFunction
    with contextlib.ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.parallel.DistributedDataParallel):
                stack.enter_context(module.no_sync())
        try:
            checkpoints.CheckpointFunction = _Kept
            yield
        finally:
            checkpoints.CheckpointFunction = reentrant


class _Kept:
    """Stands in for reentrant checkpointing: runs the function, and keeps what its backward needs."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        del preserve_rng_state
        return function(*args)


def _matrices(plan: Plan) -> dict[Key, Owned]:
    """The weight matrices of the blocks, by the module that owns each and its name there, at their first place."""
    seen: set[int] = set()
    found: dict[Key, Owned] = {}
    for place in plan.places:
        if place.entering:
            continue
        for name, parameter, owner in named_parameters(place.module):
            if parameter.ndim >= 2 and parameter.is_floating_point() and id(parameter) not in seen:
                seen.add(id(parameter))
                found[place, f"{place.module_name}.{name}".lstrip(".")] = owner, name.rpartition(".")[2]
    return found


def weights_of(plan: Plan) -> list[Tensor]:
    """The weight matrices whose gradients are taken.

    Args:
        plan: the places.

    Returns:
        The parameters, each once.
    """
    return [getattr(owner, name) for owner, name in _matrices(plan).values()]


@contextlib.contextmanager
def _used(matrices: Mapping[Key, Owned]) -> Iterator[dict[Owned, Tensor]]:
    """The parameters as a forward pass uses them: FSDP gathers a sharded one for the call of its module alone."""
    used: dict[Owned, Tensor] = {}
    sharded = [(owner, name) for owner, name in matrices.values() if hasattr(getattr(owner, name), "full_tensor")]
    handles = []
    try:
        for owner, name in sharded:

            def note(module: nn.Module, args: Any, name: str = name) -> None:
                del args
                used.setdefault((module, name), getattr(module, name))

            handles.append(owner.register_forward_pre_hook(note))
        yield used
    finally:
        for handle in handles:
            handle.remove()
