"""Turning: linear maps over the tokens, as in MLP-Mixer and gMLP, told by which axis of the stream they contract.

A graph knows shapes, not axes. A linear map contracts the last axis of what it gets, a convolution of one position the
one before it; between the stream and the map the two may have been turned (``x.mT``, ``permute``). Where a block has
maps of both kinds, those over the features, on the last axis of the stream, are told from those over the tokens; where
it has one kind alone, as ConvNeXt whose stream has its channels first, nothing is told.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from rankscope.capture.graph import Operation

TURNS = re.compile(
    r"transpose_?|swapaxes|swapdims|permute|movedim|moveaxis|t_?|adjoint|__get__"
)  # ``x.mT`` is a __get__
LINEAR = re.compile(r"linear|_*r?matmul_*|mm|addmm")


def across_tokens(branches: Sequence[Iterable[Operation]], carries: Container[Operation]) -> list[bool]:
    """Which branches of a block hold a linear map over the tokens.

    Args:
        branches: what each branch is made of.
        carries: the stream.

    Returns:
        One answer a branch.
    """
    found = [{_over(op, carries) for op in inside if _maps(op)} - {None} for inside in branches]
    both = {over for kinds in found for over in kinds} == {True, False}
    return [both and True in kinds for kinds in found]


def _maps(operation: Operation) -> bool:
    """Whether it is a linear map by a weight, position by position of the other axes."""
    if LINEAR.fullmatch(operation.name):
        return operation.weighted and bool(operation.operands)
    return operation.name == "conv1d" and operation.span == 1 and operation.weighted and bool(operation.operands)


def _over(operation: Operation, carries: Container[Operation]) -> bool | None:
    """Whether a map contracts another axis of the stream than its last; None where no way leads back to the stream."""
    turned, at = operation.name == "conv1d", operation
    while at not in carries:
        before = next((operand for operand in at.operands if not operand.constant), None)
        if before is None:
            return None
        turned ^= TURNS.fullmatch(at.name) is not None and _moves_last(at, before)
        at = before
    return turned


def _moves_last(operation: Operation, before: Operation) -> bool:
    """Whether a turn moves the last axis; where all sizes are equal, it is taken to."""
    old, new = before.shape, operation.shape
    return len(old) > 1 and (old[-1:] != new[-1:] or old == new)
