"""Lengths: how many tokens a model may take, from its configuration and the sizes of its tables; tried by dry runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUND = (64, 32, 16, 8)  # tried where no bound of the model's own fits
MOST = 4096  # a fixed length above this is not looked for
_NAMES = re.compile(r"position|seq|ctx|context|block_size|length|max_len")


def shorter(model: nn.Module, wanted: int) -> list[int]:
    """Lengths to try where a model refuses the one wanted.

    Args:
        model: any module.
        wanted: tokens of a sequence.

    Returns:
        The bounds of the model below `wanted`, and round numbers, the largest first.

    Example:
        >>> shorter(nn.Embedding(100, 4), 128)
        [100, 64, 32, 16, 8]
    """
    return sorted({size for size in (*_bounds(model), *ROUND) if 4 <= size < wanted}, reverse=True)


def longer(model: nn.Module, wanted: int) -> list[int]:
    """Lengths to try where a model takes one length alone, and it is not below the one wanted.

    Args:
        model: any module.
        wanted: tokens of a sequence.

    Returns:
        The bounds of the model above `wanted`, the smallest first.

    Example:
        >>> longer(nn.Embedding(197, 4), 128)
        [197]
    """
    return sorted({size for size in _bounds(model) if wanted < size <= MOST})


def _bounds(model: nn.Module) -> Iterator[int]:
    """Sizes that may bound a length: of configurations, embeddings, and tables that a module holds itself."""
    config = getattr(model, "config", None)
    nested = [value for value in _attributes(config).values() if hasattr(value, "__dict__")]
    for holder in (model, config, *nested):
        yield from (
            value
            for name, value in _attributes(holder).items()
            if isinstance(value, int) and _NAMES.search(name) and not isinstance(value, bool)
        )
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            yield module.num_embeddings
        elif not type(module).__module__.startswith("torch.nn."):
            tables = (*module._parameters.values(), *module._buffers.values())
            yield from (table.shape[-2] for table in tables if table is not None and table.ndim >= 2)


def _attributes(holder: Any) -> dict[str, Any]:
    return dict(holder) if isinstance(holder, dict) else getattr(holder, "__dict__", {})
