"""What is the same for every model that was just made: its seed, its weights file, and that no weight is lacking."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rankscope.errors import LoadError
from rankscope.formats import Kind, format_of, refuse, sha256
from rankscope.sources import FORMS
from rankscope.sources._archive import verify
from rankscope.sources._weights import fill, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from rankscope.records import Note
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


def load_weights(model: nn.Module, options: LoadOptions) -> tuple[str, tuple[Note, ...]]:
    """Load the file of ``--weights`` into a model.

    Args:
        model: the model that a factory made.
        options: `weights` and `strip_prefix` are used, and what the form of the file needs.

    Returns:
        The SHA-256 of the file (of its ``.metadata`` for a directory), and what to know of how it was read.

    Raises:
        LoadError: the file is missing, refused, or does not fit.
    """
    path, name = Path(options.weights or ""), str(options.weights)
    kind = format_of(path)
    reader = next((form.state for form in FORMS.values() if form.state and kind in form.kinds), None)
    if reader is None:
        error = _no_weights_file(path, name) if kind is Kind.HF_DIRECTORY else refuse(path, name, kind)
        raise error
    checked = (verify(path, name),) if options.verify else ()
    state, notes = reader(path, name, options)
    fill(model, state, name, options.strip_prefix)
    return sha256(path / ".metadata" if path.is_dir() else path), (*checked, *notes)


def _no_weights_file(path: Path, name: str) -> LoadError:
    """The error for a directory of a whole model where a file of weights is asked for."""
    remedies = [("Name the file inside it", f"--weights {path / 'model.safetensors'}")]
    return LoadError("RS316", f"{name} was not loaded: it is a directory, not a file of weights", remedies=remedies)


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
