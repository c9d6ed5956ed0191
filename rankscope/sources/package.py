"""torch.package archives: a pickled module with its own source code, for a file that the user trusts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rankscope.formats import Kind
from rankscope.sources import FORMS, Form, LoadOptions
from rankscope.sources._levels import read_package
from rankscope.sources._model import as_source
from rankscope.sources._state import State, state_dict
from rankscope.sources._trust import granted

if TYPE_CHECKING:
    from rankscope.records import Note, Source


def open_package(spec: str, options: LoadOptions) -> Source:
    """Open a torch.package archive.

    Args:
        spec: the file.
        options: the flags of trust, and for weights those of an architecture.

    Returns:
        The module, or the architecture of ``--arch`` filled with the weights.
    """
    content, notes = read_package(Path(spec), spec, Kind.TORCH_PACKAGE, options)
    return as_source(spec, content, options, notes, module="torch.package module")


def read_state(path: Path, name: str, options: LoadOptions) -> tuple[State, tuple[Note, ...]]:
    """The tensors of a torch.package archive, for ``--weights``.

    Args:
        path: the file.
        name: the file in the user's words.
        options: the flags of trust.

    Returns:
        Names to tensors, and what to know of how they were read.
    """
    content, notes = read_package(path, name, Kind.TORCH_PACKAGE, options)
    state, more = state_dict(content, name, granted(options))
    return state, (*notes, *more)


FORMS.add("package", Form(open_package, kinds=frozenset({Kind.TORCH_PACKAGE}), state=read_state))
