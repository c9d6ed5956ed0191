"""Comparison: models and saved reports side by side, layer by layer, on the same inputs.

`compare` is the twin of `rankscope compare`. torch is imported only where a model is to be measured.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from rankscope._version import __version__
from rankscope.comparison.alignment import ALIGNMENTS, align
from rankscope.comparison.pairs import compared
from rankscope.comparison.records import SCHEMA, Comparison, Difference, First, Match, Pair, Subject
from rankscope.comparison.subjects import gathered
from rankscope.errors import UsageError
from rankscope.registry import unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from rankscope.comparison.records import Alignment
    from rankscope.comparison.subjects import Probe
    from rankscope.records import Report

__all__ = ["ALIGNMENTS", "SCHEMA", "Comparison", "Difference", "First", "Match", "Pair", "Subject", "align", "compare"]


def compare(
    *models: str | Path | nn.Module | Report, inputs: Any = None, align: Alignment | None = None, **options: Any
) -> Comparison:
    """Put models and saved reports side by side on the same inputs; the twin of ``rankscope compare``.

    Args:
        *models: at least two; the first is the reference. A report, the path of a saved one, a module, or anything that
            `rankscope.probe` takes.
        inputs: as `rankscope.probe` takes them, the same for all models; without any those of a saved report, where
            they can be drawn again, else those of the first model.
        align: ``name`` or ``depth``: how layers are matched; by name where two stacks share names, if not given.
        **options: those of `rankscope.probe`, for all models.

    Returns:
        The comparison.

    Example:
        >>> from torch import nn
        >>> net = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
        >>> import torch
        >>> print(compare(net, net, inputs=torch.randn(2, 8, 16), measures="mu_bar").pairs[0].first)
        None
    """
    check(models, align)

    def probe(wanted: Sequence[tuple[int, Any]], saved: Report | None) -> Any:
        from rankscope.comparison.probing import Probing
        from rankscope.pipeline import read_options

        return Probing(*read_options(inputs, options))(wanted, saved)

    return side_by_side(models, probe, align)


def check(models: Sequence[Any], align: str | None) -> None:
    """Refuse what cannot be compared, before anything is read.

    Args:
        models: those to compare.
        align: how.

    Raises:
        UsageError: there are fewer than two, or the alignment is unknown.
    """
    if len(models) < 2:
        told = f"{models[0]} alone" if models else "nothing"
        raise UsageError(
            "RS620",
            f"nothing was compared: at least two models or saved reports are needed, and {told} was given",
            remedies=[("Name a second one", "rankscope compare A vs B")],
        )
    if align is not None and align not in ALIGNMENTS:
        error = unknown_name("alignment", align, list(ALIGNMENTS))
        raise error


def side_by_side(models: Sequence[Any], probe: Probe, align: Alignment | None = None) -> Comparison:
    """Gather the reports of all, and compare the first with each of the others.

    Args:
        models: as `compare` takes them.
        probe: measures models.
        align: how layers are matched.

    Returns:
        The comparison.
    """
    subjects = gathered(models, probe)
    pairs, sentence, notes = compared(subjects, align)
    return Comparison(
        subjects=subjects,
        pairs=pairs,
        sentence=sentence,
        inputs=subjects[0].report.inputs,
        notes=notes,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        rankscope=__version__,
    )
