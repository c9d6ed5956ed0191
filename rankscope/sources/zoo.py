"""``zoo:NAME,option=value``: a reference architecture with random weights."""

from __future__ import annotations

import re

from rankscope.records import Note, Source
from rankscope.sources import FORMS, Form, LoadOptions
from rankscope.sources._arch import architecture, random_weights
from rankscope.sources._finish import load_weights


def open_zoo(spec: str, options: LoadOptions) -> Source:
    """Build an architecture of the zoo, and load ``--weights`` into it if there are any.

    Args:
        spec: ``zoo:NAME,option=value,…``; an option ``seed`` goes before that of the command line.
        options: `seed`, `weights` and `strip_prefix` are used.

    Returns:
        The model.
    """
    model, _ = architecture(spec, options.seed)
    own = re.search(r",\s*seed=(\d+)", spec)
    notes: tuple[Note, ...] = (random_weights(f"an architecture of the zoo, seed {own[1] if own else options.seed}"),)
    digest = None
    if options.weights:
        digest, notes = load_weights(model, options)
    if unmeasured := getattr(model, "unmeasured", None):
        notes = (*notes, Note("RS502", unmeasured))
    return Source(model, spec, "zoo", sha256=digest, notes=notes)


FORMS.add("zoo", Form(open_zoo, prefix="zoo:", weights=True))
