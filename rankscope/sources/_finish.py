"""What is the same for every model that was just made: its seed, its weights file, and that no weight is lacking."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rankscope.errors import LoadError
from rankscope.formats import sha256
from rankscope.sources._state import read
from rankscope.sources._weights import fill, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from rankscope.sources import LoadOptions


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run under a seed, and leave the caller's random numbers as they were.

    Args:
        seed: of torch's generators on the CPU, and on CUDA devices that are in use already. A device that is not is
            left alone: asking for its state would start it, and its numbers begin the same in every process.

    Yields:
        Nothing.
    """
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    devices = range(torch.cuda.device_count() if started else 0)
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed other devices for good
        if devices:
            torch.cuda.manual_seed_all(seed)
        yield


def load_weights(model: nn.Module, options: LoadOptions) -> str:
    """Load the file of ``--weights`` into a model.

    Args:
        model: the model that a factory made.
        options: `weights` and `strip_prefix` are used.

    Returns:
        The SHA-256 of the file.
    """
    name = str(options.weights)
    fill(model, read(Path(name), name), name, options.strip_prefix)
    return sha256(Path(name))


def refuse_meta(model: nn.Module, name: str) -> nn.Module:
    """Refuse a model that has a shape but no numbers in some place.

    Args:
        model: a model that was loaded. One that accelerate offloads keeps its weights elsewhere and is let through.
        name: the model in the user's words.

    Returns:
        The model.

    Raises:
        LoadError: a parameter or buffer is on the meta device.
    """
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        return model
    hollow = [key for key, value in itertools.chain(model.named_parameters(), model.named_buffers()) if value.is_meta]
    if hollow:
        raise LoadError(
            "RS323",
            f"{name} was not loaded: {len(hollow)} of its tensors have no numbers (meta device)",
            details=[("tensors", listed(hollow))],
            remedies=[("Load the weights", "rankscope probe yourmodule:Net --weights weights.pt")],
        )
    return model
