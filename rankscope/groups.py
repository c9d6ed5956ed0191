"""Groups: the sequences of a batch by their number of real tokens, so that equal lengths are measured at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

CHUNK_BYTES = 256 * 2**20  # one activation is taken to float64 for this many bytes of sequences at a time


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences of equal length: `tokens` (batch, tokens, width), their numbers in the run.

    `positions` (batch, tokens) are the places of the tokens in their padded sequences, None where nothing was padded.
    """

    tokens: Tensor
    numbers: list[int]
    positions: Tensor | None = None

    def without_tokens(self) -> Group:
        """The same sequences, their tokens let go."""
        return Group(self.tokens.new_empty(0), self.numbers, self.positions)

    def double(self) -> Group:
        """The same sequences in float64."""
        return Group(self.tokens.double(), self.numbers, self.positions)

    def pick(self, indices: list[int]) -> Group:
        """Some of the sequences."""
        if len(indices) == len(self.numbers):
            return self
        positions = None if self.positions is None else self.positions[indices]
        return Group(self.tokens[indices], [self.numbers[i] for i in indices], positions)


def groups(tokens: Tensor, keep: Tensor | None, first: int = 0, most: int | None = None) -> Iterator[Group]:
    """Sequences of a batch by their number of real tokens, in chunks of bounded memory.

    Args:
        tokens: (batch, tokens, width).
        keep: (batch, tokens), true at real tokens; None where all are.
        first: the number of the first sequence in the run.
        most: bytes of a group in float64; a group of one sequence may have more.

    Yields:
        Groups in the dtype of the tokens, padding left out.

    Example:
        >>> keep = torch.tensor([[True, True, False], [True, True, True]])
        >>> [tuple(group.tokens.shape) for group in groups(torch.zeros(2, 3, 5), keep)]
        [(1, 2, 5), (1, 3, 5)]
    """
    tokens = with_float64(tokens)
    lengths = [tokens.shape[1]] * len(tokens) if keep is None else keep.sum(1).tolist()
    whole = max(1, (CHUNK_BYTES if most is None else most) // max(1, 8 * tokens.shape[1] * tokens.shape[2]))
    for length in sorted(set(lengths)):
        members = [index for index, each in enumerate(lengths) if each == length]
        for start in range(0, len(members), whole):
            part = members[start : start + whole]
            numbers = [first + member for member in part]
            if keep is None or length == tokens.shape[1]:
                yield Group(tokens if len(part) == len(tokens) else tokens[part], numbers)
            else:
                positions = torch.stack([keep[i].nonzero().flatten() for i in part]).to(tokens.device)
                rows = torch.stack([tokens[i][at] for i, at in zip(part, positions, strict=True)])
                yield Group(rows, numbers, positions)


def with_float64(tensor: Tensor) -> Tensor:
    """A tensor where float64 can be had: Apple's devices have none."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def without_zero_rows(group: Group, norms: Tensor) -> Iterator[Group]:
    """Sequences by their number of non-zero rows, the zero rows left out.

    Args:
        group: the sequences.
        norms: (batch, tokens), the norms of their tokens.

    Yields:
        Groups of those rows.

    Example:
        >>> tokens = torch.tensor([[[1.0], [0.0]], [[2.0], [3.0]]])
        >>> [group.tokens.tolist() for group in without_zero_rows(Group(tokens, [0, 1]), tokens.norm(dim=-1))]
        [[[[1.0]]], [[[2.0], [3.0]]]]
    """
    counts = (norms > 0).sum(1)
    for count in sorted(set(counts.tolist())):
        members = (counts == count).nonzero().flatten().tolist()
        if count == group.tokens.shape[1]:
            yield group.pick(members)
        else:
            rows = torch.stack([group.tokens[i][norms[i] > 0] for i in members])
            yield Group(rows, [group.numbers[i] for i in members])
