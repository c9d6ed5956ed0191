"""safetensors files: weights alone, whose header may name an architecture of the zoo."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rankscope.errors import LoadError, UsageError
from rankscope.formats import Kind
from rankscope.records import Note, Source, display_name
from rankscope.sources import FORMS, Form, LoadOptions
from rankscope.sources._arch import open_weights
from rankscope.sources._header import within
from rankscope.sources._state import State, read_safetensors

# The key of the header under which rankscope's own checkpoints name their architecture.
SPEC_KEY = "rankscope.spec"


def open_safetensors(spec: str, options: LoadOptions) -> Source:
    """Open a safetensors file.

    Args:
        spec: the file.
        options: `arch` goes before the architecture in the header.

    Returns:
        The architecture filled with the weights.

    Raises:
        UsageError: ``--arch`` names an architecture that the zoo does not know.
        LoadError: the header names an architecture that the zoo cannot build.
    """
    state, metadata = read_safetensors(Path(spec), spec)
    header = metadata.get(SPEC_KEY)
    if header is not None:
        header = f"zoo:{header.removeprefix('zoo:')}"
    try:
        with within(state, header, spec) if header and not options.arch else contextlib.nullcontext():
            return open_weights(spec, state, options, "safetensors", header)
    except UsageError as error:
        if options.arch:
            raise
        raise LoadError(
            "RS313",
            f"{spec} was not loaded: its header names an architecture that the zoo cannot build",
            details=[("header", display_name(str(header))), ("why", error.headline)],
            remedies=[("Say which class takes its weights", f"rankscope probe {spec} --arch yourmodule:Net")],
        ) from error


def read_state(path: Path, name: str, _: LoadOptions) -> tuple[State, tuple[Note, ...]]:
    """The tensors of a safetensors file, for ``--weights``.

    Args:
        path: the file.
        name: the file in the user's words.

    Returns:
        Names to tensors, and no notes.
    """
    return read_safetensors(path, name)[0], ()


FORMS.add("safetensors", Form(open_safetensors, kinds=frozenset({Kind.SAFETENSORS}), state=read_state))
