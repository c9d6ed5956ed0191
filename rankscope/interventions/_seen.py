"""What some edits need beyond a plan: the operations of the traced forward pass, and actions at them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from rankscope.capture.branches import blocks_of, branches
from rankscope.capture.flow import INPLACE
from rankscope.capture.graph import graph
from rankscope.errors import CaptureError
from rankscope.interventions._actions import AtCall
from rankscope.records import display_name
from rankscope.selectors import EVERY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from rankscope.capture.branches import Branch
    from rankscope.capture.flow import Call
    from rankscope.capture.graph import Graph, Operation
    from rankscope.interventions._actions import TorchCall
    from rankscope.interventions._scene import Scene
    from rankscope.records import Layer


def seen(scene: Scene) -> tuple[Graph, Mapping[Call, Layer]]:
    """Run what was traced once more, and keep every operation.

    Args:
        scene: the traced model.

    Returns:
        The graph, and the calls that are blocks, with their layers.
    """
    with torch.no_grad():
        watched = graph(scene.model, scene.batch)
    return watched, blocks_of(watched, scene.plan)


def meant(scene: Scene, layer: Layer | None) -> bool:
    """Whether something in a layer, or outside every layer, is meant by the selector of an edit.

    Args:
        scene: the model, narrowed.
        layer: where it runs; None outside every block.

    Returns:
        Whether it is.
    """
    return layer in scene.layers if layer else scene.where == EVERY


def passes(watched: Graph, operation: Operation, number: int, layer: Layer | None, what: str) -> AtCall:
    """An action by which an operation gives one of its operands.

    The operand is copied, since code that writes into the result must not write into the operand. Of a product or a sum
    the result has the shape and dtype that it would have had.

    Args:
        watched: the graph.
        operation: one of its operations.
        number: of the operand.
        layer: for the count of layers.
        what: the noun of the count.

    Returns:
        The action.
    """
    joint = len(operation.operands) > 1 or operation.weighted

    def instead(call: TorchCall) -> Tensor:
        kept = call.tensor(number)
        if INPLACE.fullmatch(call.name):  # others hold the tensor that is written
            return kept if number == 0 else call.tensor(0).copy_(kept)
        given = [value for value in call.args if isinstance(value, torch.Tensor)]
        if not joint or len(given) < 2 or call.kwargs:
            return kept.clone()
        dtype = functools.reduce(torch.promote_types, (value.dtype for value in given if value.ndim or value is kept))
        axes = max(value.ndim for value in given) - kept.ndim
        return kept.reshape((1,) * axes + tuple(kept.shape)).to(dtype, copy=True)

    times = watched.times(operation)
    return AtCall(operation.steps, operation.hit, operation.name, layer, what, instead=instead, times=times)


def without(scene: Scene, *, mixes: bool, what: str) -> Iterator[AtCall]:
    """Branches of one kind are zero before they join the stream.

    Args:
        scene: the model, narrowed.
        mixes: those that mix tokens, else those that do not.
        what: the noun of the count.

    Yields:
        Actions.

    Raises:
        CaptureError: there are none.
    """
    watched, blocks = seen(scene)
    found = [branch for branch in branches(watched, blocks) if branch.layer in scene.layers]
    _refuse_streams(watched, blocks, found)
    chosen = [branch for branch in found if branch.mixes == mixes]
    if not chosen:
        others = f"{len(found)} that {'do not mix' if mixes else 'mix'} tokens" if found else "none"
        raise CaptureError(
            "RS460",
            f"no branch that {'mixes' if mixes else 'does not mix'} tokens joins the stream of these layers",
            details=[("branches", others)],
            remedies=[("Look at what was recognised", "rankscope inspect MODEL")],
        )
    for branch in chosen:
        yield _zeroed(watched, branch, what)


def _refuse_streams(watched: Graph, blocks: Mapping[Call, Layer], found: Sequence[Branch]) -> None:
    """Refuse a block whose output holds several streams: what is added to a part of them is not its branch."""
    outputs = {layer: watched.left[block] for block, layer in blocks.items() if block in watched.left}
    for branch in found:
        whole, part = outputs[branch.layer], branch.sum
        if part.size < whole.size and part.shape[1:] == whole.shape[1:]:
            raise CaptureError(
                "RS460",
                f"{display_name(branch.layer.name)} keeps several streams, {whole.shape[0]} beside each other: "
                "attention and MLP reach them together, by a mixture",
                details=[("seen", f"a sum on {part.shape[0]} of the {whole.shape[0]} alone")],
                remedies=[("Leave out the whole block", f"drop@{branch.layer.index}")],
            )


def _zeroed(watched: Graph, branch: Branch, what: str) -> AtCall:
    """Zeros in place of an operand of a sum."""
    number = branch.operand

    def before(call: TorchCall) -> None:
        old = call.tensor(number)
        writes = number == 0 and INPLACE.fullmatch(call.name)
        call.put(number, old.zero_() if writes else torch.zeros_like(old))

    add = branch.sum
    times = watched.times(add)
    return AtCall(add.steps, add.hit, add.name, branch.layer, what, before=before, times=times)
