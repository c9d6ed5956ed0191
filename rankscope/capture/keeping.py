"""Keeping: what a forward pass keeps for its backward pass, watched from layer to layer, so that it stops in time.

Autograd does not tell how much it keeps, and its hooks would have it check less. So what the process, or the device,
holds is read at every layer.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rankscope.capture.factors import FEW, LEAST
from rankscope.memory import told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from rankscope.memory import Memory


class Keeping:
    """Says when a forward pass keeps more than is allowed.

    Args:
        memory: the allowance.
        device: where the model is.
        layers: how many will be told.
        gradients: bytes that the gradients of weights will take.
    """

    def __init__(self, memory: Memory, device: torch.device, layers: int, gradients: int) -> None:
        self._memory, self._device, self._layers, self._gradients = memory, device, layers, gradients
        self._seen, self._first = 0, 0
        self.reason: str | None = None

    def beforehand(self) -> str | None:
        """Why the pass need not begin.

        Returns:
            The reason; None where the gradients of the weights alone are no more than is allowed.
        """
        return self._memory.refusal(self._gradients, "the backward pass, for the gradients of weights alone,")

    def layer(self) -> None:
        """Count one layer.

        Raises:
            MemoryError: what is kept, with the gradients to come, is more than is allowed; `reason` says so.
        """
        now = held(self._device)
        self._seen += 1
        self._first = now if self._seen == 1 else self._first
        grown = now - self._first
        if self._memory.refusal(grown + self._gradients, "") is not None:
            whole = grown * (self._layers - 1) // max(1, self._seen - 1) + self._gradients
            name = f"the backward pass ({told(grown)} kept by layer {self._seen} of {self._layers})"
            self.reason = self._memory.refusal(max(whole, grown + self._gradients), name)
            raise MemoryError(self.reason)


def held(device: torch.device) -> int:
    """What is held now, of a GPU by torch, else by the process.

    Args:
        device: which.

    Returns:
        Bytes; 0 where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def bytes_of_gradients(weights: Iterable[Tensor], tokens: int, *, factored: bool) -> int:
    """What the gradients of weight matrices will take.

    Args:
        weights: the matrices.
        tokens: that the loss is over.
        factored: whether a gradient over few tokens may be kept as its factors.

    Returns:
        Bytes.

    Example:
        >>> weights = [torch.zeros(64, 64)]
        >>> bytes_of_gradients(weights, 8, factored=True), bytes_of_gradients(weights, 64, factored=True)
        (4096, 16384)
    """
    count = 0
    for weight in weights:
        rows, width = len(weight), weight.numel() // max(1, len(weight))
        few = factored and min(rows, width) >= LEAST and tokens < FEW * min(rows, width)
        count += weight.element_size() * (tokens * (rows + width) if few else rows * width)
    return count
