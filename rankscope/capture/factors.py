"""Factors: weights whose gradient is a product over few tokens, as the graph of a forward pass tells it.

Where a weight W is used in y = x Wᵀ (+ b) alone, ∂L/∂W = (∂L/∂y)ᵀ x, a product over the tokens of x. With few of them
its singular values are had from the two factors, and the backward pass need not form it. The graph is asked, not the
modules: it knows every use of a weight, whoever makes it, so that no product is taken for more than it is.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, saved_tensors_hooks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Use = tuple[Tensor, GradientEdge]
"""The inputs x (tokens, inputs) of one product, and where the gradient of y (tokens, outputs) arrives."""
Consumer = tuple[Node, int]
"""An operation that takes a value, and as which of its operands."""
PRODUCTS = {"MmBackward0": (1, "_saved_self"), "AddmmBackward0": (2, "_saved_mat1")}
"""Operations x·W: which operand W is, and the name under which x is saved."""
FEW = 0.75
"""Fewer tokens than this part of the smaller side of a weight are few: above, the product is as fast."""
LEAST = 64
"""A smaller weight costs little either way."""


@contextlib.contextmanager
def watched_packing() -> Iterator[list[object]]:
    """Note where what the backward pass needs is packed away: to unpack it runs a checkpoint again, or loads a file.

    Yields:
        A list that is not empty once something was packed.
    """
    packed: list[object] = []
    enter = saved_tensors_hooks.__enter__

    def noted(hooks: saved_tensors_hooks) -> None:
        packed.append(None)
        enter(hooks)

    try:
        saved_tensors_hooks.__enter__ = noted  # type: ignore[method-assign] # put back below
        yield packed
    finally:
        saved_tensors_hooks.__enter__ = enter  # type: ignore[method-assign] # as above


def uses(scalar: Tensor, weights: Sequence[Tensor]) -> list[list[Use] | None]:
    """The products that each weight is used in, where that is all it is used for, and their tokens are few.

    Args:
        scalar: what will be differentiated; its graph is still whole.
        weights: parameters.

    Returns:
        Of each weight its uses, or None where its gradient has to be formed.
    """
    leaves = {id(weight) for weight in weights if _plain(weight)}
    if not leaves or scalar.grad_fn is None:
        return [None] * len(weights)
    consumers: dict[int, list[Consumer]] = defaultdict(list)  # of a leaf
    transposed: dict[Node, list[Consumer]] = defaultdict(list)
    for node, operand, source in _edges(scalar.grad_fn):
        if source.name() == "TBackward0":
            transposed[source].append((node, operand))
        elif id(leaf := getattr(source, "variable", None)) in leaves:
            consumers[id(leaf)].append((node, operand))
    return [_uses(weight, consumers[id(weight)], transposed) for weight in weights]


def factors(inputs: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> tuple[Tensor, Tensor] | None:
    """The factors of ∂L/∂W = leftᵀ right over all uses; tokens without a gradient, such as padding, are left out.

    Args:
        inputs: of each use, (tokens, inputs).
        gradients: of each use, (tokens, outputs); None where the loss does not depend on it.

    Returns:
        (tokens, outputs) and (tokens, inputs); None where the loss depends on no use.

    Example:
        >>> left, right = factors([torch.ones(2, 3)], [torch.tensor([[5.0], [0.0]])])
        >>> left.tolist(), right.tolist()
        ([[5.0]], [[1.0, 1.0, 1.0]])
    """
    pairs = [(gradient, x) for gradient, x in zip(gradients, inputs, strict=True) if gradient is not None]
    if not pairs:
        return None
    left, right = pairs[0] if len(pairs) == 1 else (torch.cat(parts) for parts in zip(*pairs, strict=True))
    kept = (left != 0).any(1) | ~torch.isfinite(right.sum(1))  # 0 times infinity is not 0
    return (left, right) if bool(kept.all()) else (left[kept], right[kept])


def _edges(root: Node) -> Iterator[tuple[Node, int, Node]]:
    """Every use of a value in a graph: the operation, the number of its operand, and what made that."""
    seen, waiting = {root}, [root]
    while waiting:
        node = waiting.pop()
        for operand, (source, _) in enumerate(node.next_functions):
            if source is not None:
                yield node, operand, source
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)


def _uses(weight: Tensor, consumers: Sequence[Consumer], transposed: dict[Node, list[Consumer]]) -> list[Use] | None:
    products = [product for each in consumers for product in (transposed.get(each[0]) or [each])]
    found = [_use(*product) for product in products]
    if not found or any(use is None for use in found):
        return None
    known: list[Use] = [use for use in found if use is not None]
    return known if sum(len(x) for x, _ in known) < FEW * min(weight.shape) else None


def _use(node: Node, operand: int) -> Use | None:
    """One product with the weight; None where it is anything else."""
    at, name = PRODUCTS.get(node.name(), (None, ""))
    if at != operand or getattr(node, "_saved_alpha", 1) != 1:
        return None
    x: Any = getattr(node, name, None)
    return (x.detach(), GradientEdge(node, 0)) if type(x) is Tensor and x.layout is torch.strided else None


def _plain(weight: Tensor) -> bool:
    """Whether a weight is a matrix that lies here in one piece; of float64 ones the product is looked at exactly."""
    whole = type(weight) in {Tensor, nn.Parameter} and weight.ndim == 2 and weight.dtype != torch.float64
    return whole and min(weight.shape) >= LEAST
