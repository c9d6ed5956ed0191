"""The content of a pickle as a model: a module as it is, or weights with ``--arch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from rankscope.errors import UsageError
from rankscope.formats import sha256
from rankscope.records import Note, Source, display_name
from rankscope.sources import LoadOptions, refuse_scripted
from rankscope.sources._arch import open_weights
from rankscope.sources._contents import carried_hooks
from rankscope.sources._finish import refuse_meta
from rankscope.sources._state import weights_or_module
from rankscope.specs import shown

if TYPE_CHECKING:
    from collections.abc import Iterable


def as_source(
    spec: str,
    content: Any,
    options: LoadOptions,
    notes: Iterable[Note] = (),
    module: str = "pickled module",
    weights: str = "state dict",
) -> Source:
    """What a file held as a model.

    Args:
        spec: the file in the user's words.
        content: a module, a state dict, or a dict with one of them inside.
        options: those for weights; a module needs none.
        notes: what to know of how the file was read.
        module: the form of a whole module, for the report.
        weights: the form of weights, for the report.

    Returns:
        The module, or the architecture of ``--arch`` filled with the weights.

    Raises:
        UsageError: ``--init-only`` for a module, whose initialisation is not known.
    """
    found, more = weights_or_module(content, spec)
    notes = (*notes, *more)
    if not isinstance(found, nn.Module):
        return open_weights(spec, found, options, weights, notes=notes)
    if options.init_only:
        raise UsageError(
            "RS338",
            f"{spec} was not opened: --init-only needs a factory, and this is a pickled module",
            remedies=[("Name the class of the module", "rankscope probe yourmodule:Net --init-only")],
        )
    refuse_meta(refuse_scripted(found, spec), spec)
    return Source(found, shown(spec), module, sha256=sha256(Path(spec)), notes=(*notes, *_hooks(found)))


def _hooks(model: nn.Module) -> list[Note]:
    """A note on the hooks that a trusted module brought with it."""
    hooks = [
        f"{display_name(name) or 'the model'} ({attribute})"
        for name, part in model.named_modules()
        for attribute in carried_hooks(vars(part))
    ]
    if not hooks:
        return []
    more = f" and {len(hooks) - 3} more" if len(hooks) > 3 else ""
    return [Note("RS365", f"the file brought hooks, which change what layers give: {', '.join(hooks[:3])}{more}")]
