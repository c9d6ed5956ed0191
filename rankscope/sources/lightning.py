"""Lightning checkpoints: the weights under ``state_dict``, with ``--arch``; what else the file holds is left alone.

The names of a LightningModule's tensors begin with the attribute that holds the net, such as ``model.``. That prefix is
taken off only when told (``--strip-prefix``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.formats import Kind
from rankscope.sources import FORMS, Form, LoadOptions
from rankscope.sources._arch import open_weights
from rankscope.sources._levels import read
from rankscope.sources._state import State, state_dict
from rankscope.sources._trust import granted

if TYPE_CHECKING:
    from rankscope.records import Note, Source


def open_lightning(spec: str, options: LoadOptions) -> Source:
    """Open a Lightning checkpoint.

    Args:
        spec: the file.
        options: `arch` and `strip_prefix`; `allow` and the flags of trust for hyperparameters that are objects.

    Returns:
        The architecture of ``--arch`` filled with the weights.
    """
    state, notes = read_state(Path(spec), spec, options)
    return open_weights(spec, state, options, "Lightning checkpoint", notes=notes)


def read_state(path: Path, name: str, options: LoadOptions) -> tuple[State, tuple[Note, ...]]:
    """The tensors of a Lightning checkpoint, for ``--weights``.

    Args:
        path: the file.
        name: the file in the user's words.
        options: `allow` and the flags of trust.

    Returns:
        Names to tensors, and what to know of how they were read.
    """
    content, notes = read(path, name, Kind.LIGHTNING, options)
    state, more = state_dict(_weights(content), name, granted(options))
    return state, (*notes, *more)


def _weights(content: Any) -> Any:
    """What Lightning keeps under its own key; a file that only looks like one of Lightning's is taken as it is."""
    return content["state_dict"] if isinstance(content, Mapping) and "state_dict" in content else content


FORMS.add("lightning", Form(open_lightning, kinds=frozenset({Kind.LIGHTNING}), state=read_state))
