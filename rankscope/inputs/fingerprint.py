"""A fingerprint of the inputs, so that two runs can be told to have seen the same data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankscope.records import Batch

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype)


class Fingerprint:
    """sha256 over the names, dtypes, shapes and bytes of every argument and padding mask of every batch.

    The order of the batches counts, the order of keyword arguments does not.

    Example:
        >>> from rankscope.records import Batch
        >>> fingerprint = Fingerprint()
        >>> fingerprint.update(Batch((torch.zeros(2, 3),)))
        >>> fingerprint.hexdigest()[:8]
        '...'
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, batch: Batch) -> None:
        """Add a batch.

        Args:
            batch: one call of the model.
        """
        self._hash.update(b"batch\0")
        for name, value in _leaves("", [list(batch.args), dict(batch.kwargs), dict(batch.keep)]):
            self._add(name, value)

    def _add(self, name: str, value: Any) -> None:
        """A leaf: a header that ends in a zero byte, then the bytes of a tensor."""
        if not isinstance(value, torch.Tensor):
            text = repr(value) if isinstance(value, _PLAIN) else ""  # the repr of an object may hold its address
            self._hash.update(f"{name}\0{type(value).__name__}\0{text}\0".encode())
            return
        if value.is_nested:
            for index, part in enumerate(value.unbind()):
                self._add(f"{name}.{index}", part)
            return
        tensor = value.detach().cpu().contiguous()
        self._hash.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        self._hash.update(tensor.reshape(-1).view(torch.uint8).numpy().data)

    def hexdigest(self) -> str:
        """The fingerprint so far.

        Returns:
            64 hexadecimal digits.
        """
        return self._hash.hexdigest()


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every leaf with its path; the keys of a mapping sorted."""
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _leaves(f"{name}.{key}", value[key])
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(f"{name}.{index}", item)
    else:
        yield name, value
