"""Files of torch.save: a pickled module of stock torch.nn classes, or a state dict with ``--arch``."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from rankscope.errors import UsageError
from rankscope.formats import Kind, format_of, sha256
from rankscope.records import Note, Source
from rankscope.sources import FORMS, Form, LoadOptions, _restricted
from rankscope.sources._arch import open_weights
from rankscope.sources._finish import refuse_meta
from rankscope.sources._names import shown
from rankscope.sources._state import State, state_dict


def open_checkpoint(spec: str, options: LoadOptions) -> Source:
    """Open a file of torch.save through the restricted unpickler.

    Args:
        spec: the file.
        options: those for state dicts; a pickled module needs none.

    Returns:
        The module, or the architecture of ``--arch`` filled with the state dict.

    Raises:
        UsageError: ``--init-only`` for a pickled module, whose initialisation is not known.
    """
    path = Path(spec)
    content = _restricted.load(path, spec, format_of(path))
    if not isinstance(content, nn.Module):
        return open_weights(spec, state_dict(content, spec), options, "state dict")
    if options.init_only:
        raise UsageError("RS338", f"{spec} was not opened: --init-only needs a factory, and this is a pickled module")
    return Source(refuse_meta(content, spec), shown(spec), "pickled module", sha256=sha256(path))


def read_state(path: Path, name: str, _: LoadOptions) -> tuple[State, tuple[Note, ...]]:
    """The tensors of a file of torch.save, for ``--weights``.

    Args:
        path: the file.
        name: the file in the user's words.

    Returns:
        Names to tensors, and what to know of how they were read.
    """
    return state_dict(_restricted.load(path, name, format_of(path)), name), ()


FORMS.add(
    "checkpoint",
    Form(open_checkpoint, kinds=frozenset({Kind.TORCH_ZIP, Kind.TORCH_LEGACY}), state=read_state),
)
