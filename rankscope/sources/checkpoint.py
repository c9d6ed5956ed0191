"""Files of torch.save: a pickled module, or weights with ``--arch``, also beside the state of a training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rankscope.formats import Kind, format_of
from rankscope.sources import FORMS, Form, LoadOptions
from rankscope.sources._levels import read
from rankscope.sources._model import as_source
from rankscope.sources._state import State, state_dict
from rankscope.sources._trust import granted

if TYPE_CHECKING:
    from rankscope.records import Note, Source


def open_checkpoint(spec: str, options: LoadOptions) -> Source:
    """Open a file of torch.save at the level of trust that the user chose.

    Args:
        spec: the file.
        options: `allow` and the flags of trust, and for weights those of an architecture.

    Returns:
        The module, or the architecture of ``--arch`` filled with the weights.
    """
    path = Path(spec)
    content, notes = read(path, spec, format_of(path), options)
    return as_source(spec, content, options, notes)


def read_state(path: Path, name: str, options: LoadOptions) -> tuple[State, tuple[Note, ...]]:
    """The tensors of a file of torch.save, for ``--weights``.

    Args:
        path: the file.
        name: the file in the user's words.
        options: `allow` and the flags of trust.

    Returns:
        Names to tensors, and what to know of how they were read.
    """
    content, notes = read(path, name, format_of(path), options)
    state, more = state_dict(content, name, granted(options))
    return state, (*notes, *more)


KINDS = frozenset({Kind.TORCH_ZIP, Kind.TORCH_LEGACY})
FORMS.add("checkpoint", Form(open_checkpoint, kinds=KINDS, state=read_state))
