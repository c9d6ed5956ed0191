"""Weights-only files: the architecture that ``--arch`` or the file's own header names, filled with the weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rankscope.errors import LoadError
from rankscope.formats import sha256
from rankscope.records import Batch, Note, Source
from rankscope.sources._finish import refuse_meta
from rankscope.sources._weights import fill, listed
from rankscope.sources.python_path import make
from rankscope.specs import shown

if TYPE_CHECKING:
    from torch import nn

    from rankscope.sources import LoadOptions
    from rankscope.sources._state import State


def open_weights(
    spec: str,
    state: State,
    options: LoadOptions,
    form: str,
    header: str | None = None,
    notes: tuple[Note, ...] = (),
) -> Source:
    """A model of a state dict.

    Args:
        spec: the weights file in the user's words.
        state: its tensors.
        options: `arch`, `strip_prefix`, `init_only` and `seed` are used.
        form: the form of the file, for the report.
        header: the architecture that the file itself names, a ``zoo:`` spec; ``--arch`` goes before it.
        notes: what to know of how the file was read.

    Returns:
        The architecture with these weights, or with random ones for ``--init-only``.

    Raises:
        LoadError: no architecture is known, or the weights do not fit it.
    """
    arch = options.arch or header
    if arch is None:
        error = _without_architecture(spec, state)
        raise error
    model, example = architecture(arch, options.seed)
    if options.init_only:
        notes = (
            *notes,
            random_weights(f"--init-only left those of {shown(arch)}, seed {options.seed}; the file is unused"),
        )
    else:
        fill(model, state, spec, options.strip_prefix)
    path = Path(spec)
    digest = sha256(path / ".metadata" if path.is_dir() else path)
    return Source(refuse_meta(model, spec), shown(spec), form, sha256=digest, example=example, notes=notes)


def architecture(spec: str, seed: int) -> tuple[nn.Module, Batch | None]:
    """Build an architecture by name.

    Args:
        spec: ``module:factory``, ``file.py:factory`` or ``zoo:NAME,option=value``.
        seed: of its random weights.

    Returns:
        The module, and the example inputs if a factory gave any.
    """
    if not spec.startswith("zoo:"):
        return make(spec, seed)
    from rankscope import zoo

    return zoo.build(spec.removeprefix("zoo:"), seed=seed), None


def random_weights(why: str) -> Note:
    """The note that a report of random weights carries.

    Args:
        why: where the random weights come from.

    Returns:
        The note.
    """
    return Note("RS501", f"weights are random: {why}")


def _is_transformers(config: Path) -> bool:
    """Whether a file is a configuration that transformers may know."""
    try:
        return '"model_type"' in config.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _without_architecture(spec: str, state: State) -> LoadError:
    path = Path(spec)
    remedies = [("Say which class takes them", f"rankscope probe {spec} --arch yourmodule:Net")]
    if _is_transformers(path.parent / "config.json"):
        remedies.insert(0, ("Its directory says which model it is", f"rankscope probe {path.parent}"))
    elif re.search(r"-\d+-of-\d+\.", path.name):
        remedies.insert(0, ("It is one part of several; give the directory", f"rankscope probe {path.parent}"))
    return LoadError(
        "RS320",
        f"{spec} was not loaded: it holds weights alone, without the architecture",
        details=[("holds", f"{len(state)} tensors: {listed(state)}")],
        remedies=remedies,
    )
