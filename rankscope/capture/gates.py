"""Gates: the multiplicative gate of a mixer of tokens, such as Mamba's ``y * act(z)``; told by data flow.

It is the last product of two activations before the output projection of a branch that mixes tokens: one operand holds
the mixing, the other (the gate) is made of each token alone, by a projection and pointwise functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.capture.branches import joined, mixes_tokens, takes_in
from rankscope.capture.flow import SCALES
from rankscope.capture.graph import within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rankscope.capture.branches import Branch
    from rankscope.capture.graph import Operation
    from rankscope.records import Layer


@dataclass(frozen=True, slots=True)
class Gate:
    """A product of a layer; operand number `kept` is what the mixer gives, the other one the gate."""

    layer: Layer
    product: Operation
    kept: int


def gates(found: Sequence[Branch]) -> list[Gate]:
    """The gates of the branches that mix tokens.

    Args:
        found: the branches of a graph.

    Returns:
        Those before the output projection of each mixer.
    """
    return [gate for branch in found if branch.mixes for gate in _gates(branch)]


def _gates(branch: Branch) -> Iterator[Gate]:
    """Back from the end of a branch, through its output projection, to the first product that is a gate."""
    inside, seen = frozenset(branch.inside), set()
    waiting = [(branch.sum.operands[branch.operand], False)]
    while waiting:
        operation, projected = waiting.pop()
        if operation in seen or operation not in inside:
            continue
        seen.add(operation)
        if operation.name in SCALES and (kept := _kept(operation, branch)) is not None:
            yield Gate(branch.layer, operation, kept)
        elif operation.mixing and not projected and operation.weighted and not mixes_tokens([operation], ()):
            waiting.append((operation.operands[0], True))
        elif not operation.mixing and not (projected and operation.adds):  # several mixers may end in one sum
            waiting += [(operand, projected) for operand in joined(operation)]


def _kept(product: Operation, branch: Branch) -> int | None:
    """Which operand of a product mixes tokens, where the other one is a gate."""
    if len(product.operands) != 2 or any(operand.constant for operand in product.operands):
        return None
    parts = [within([operand], branch.inside) for operand in product.operands]
    mixing = [mixes_tokens(part, branch.sum.shape) for part in parts]
    if not any(mixing):
        mixing = [takes_in(part) for part in parts]
    if mixing.count(True) != 1:
        return None
    kept = mixing.index(True)
    gate = parts[1 - kept]
    made_alone = any(part.mixing for part in gate) and product.operands[kept] not in gate
    return kept if made_alone and product.sizes[kept] == product.size else None
