"""The architecture that a file names in its own header: it is built only as far as the file's tensors could fill it."""

from __future__ import annotations

import contextlib
import math
import re
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from rankscope.errors import LoadError
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankscope.sources._state import State

# Sizes that no axis of a tensor tells, such as the number of heads, and weights that are no tensor of their own.
_SLACK = 4096


@contextlib.contextmanager
def within(state: State, header: str, name: str) -> Iterator[None]:
    """Refuse an architecture of more tensors or numbers than the file has, before there is memory for it.

    Args:
        state: the tensors of the file.
        header: the architecture, a ``zoo:`` spec; untrusted.
        name: the file in the user's words.

    Yields:
        While the architecture is built.

    Raises:
        LoadError: it is larger than the file.
    """
    largest = max([len(state), _SLACK, *(size for tensor in state.values() for size in tensor.shape)])
    sizes = [_whole(text) for key, text in re.findall(r"(\w+)\s*=([^,=]*)", header) if key != "seed"]
    told = LoadError(
        "RS313",
        f"{name} was not loaded: its header names an architecture that is larger than the file",
        details=[("header", display_name(header))],
        remedies=[("Say which class takes its weights", f"rankscope probe {name} --arch yourmodule:Net")],
    )
    if any(size > largest for size in sizes):
        raise told
    with _Budget(len(state), sum(tensor.numel() for tensor in state.values()), told):
        yield


def _whole(text: str) -> int:
    """The number that an option is read as; 0 where it is none."""
    try:
        return int(text)
    except ValueError:
        return 0


class _Budget(TorchFunctionMode):
    """Counts the tensors that modules make for their weights."""

    def __init__(self, tensors: int, numbers: int, told: LoadError) -> None:
        super().__init__()
        self.tensors = tensors + _SLACK
        self.numbers = 2 * numbers + _SLACK
        self.told = told

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.empty:
            self.tensors -= 1
            self.numbers -= math.prod(args[0] if args and not isinstance(args[0], int) else args)
            if self.tensors < 0 or self.numbers < 0:
                raise self.told
        return func(*args, **(kwargs or {}))
