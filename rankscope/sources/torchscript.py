"""TorchScript archives: refused as models, since their layers take no hooks; a trusted one gives its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rankscope.formats import Kind, refuse
from rankscope.sources import FORMS, Form, LoadOptions
from rankscope.sources._levels import run
from rankscope.sources._state import State, state_dict

if TYPE_CHECKING:
    from rankscope.records import Note, Source


def refuse_torchscript(spec: str, _: LoadOptions) -> Source:
    """Refuse a TorchScript archive as a model, trusted or not.

    Args:
        spec: the file.

    Raises:
        LoadError: always.
    """
    error = refuse(Path(spec), spec, Kind.TORCHSCRIPT)
    raise error


def read_state(path: Path, name: str, options: LoadOptions) -> tuple[State, tuple[Note, ...]]:
    """The tensors of a trusted TorchScript archive, for ``--weights``.

    Args:
        path: the file.
        name: the file in the user's words.
        options: the flags of trust.

    Returns:
        Names to tensors, and the note that the file was trusted.
    """

    def load() -> Any:
        return torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]

    content, notes = run(path, name, Kind.TORCHSCRIPT, options, load)
    return state_dict(content, name)[0], notes


FORMS.add("torchscript", Form(refuse_torchscript, kinds=frozenset({Kind.TORCHSCRIPT}), state=read_state))
