"""Comparison: models and saved reports side by side, layer by layer, on the same inputs.

`compare` is the twin of `rankscope compare`. torch is imported only where a model is to be measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope._version import __version__
from rankscope.comparison.alignment import ALIGNMENTS, align
from rankscope.comparison.pairs import compared
from rankscope.comparison.records import SCHEMA, Comparison, Difference, First, Match, Missing, Pair, Subject
from rankscope.comparison.subjects import gathered, is_measured
from rankscope.errors import UsageError
from rankscope.plain import now
from rankscope.records import Report
from rankscope.registry import unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from rankscope.comparison.records import Alignment
    from rankscope.comparison.subjects import Probe

__all__ = [
    "ALIGNMENTS",
    "SCHEMA",
    "Comparison",
    "Difference",
    "First",
    "Match",
    "Missing",
    "Pair",
    "Subject",
    "align",
    "compare",
]


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

    Raises:
        UsageError: options or inputs are given, and there are only reports.

    Example:
        >>> from torch import nn
        >>> net = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
        >>> import torch
        >>> print(compare(net, net, inputs=torch.randn(2, 8, 16), measures="mu_bar").pairs[0].first)
        None
    """
    check(models, align)
    given = [*(["inputs"] if inputs is not None else []), *options]
    if given:
        from rankscope.pipeline import read_options

        read_options(inputs, dict(options))  # an unknown one is told as such
        if all(map(is_measured, models)):
            raise UsageError("RS103", f"reports are measured already: {', '.join(given)} would do nothing")

    def probe(wanted: Sequence[tuple[int, Any]], saved: Subject | None) -> Any:
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
        UsageError: there are fewer than two, one of them can be no model, or the alignment is unknown.
    """
    if len(models) == 1 and isinstance(models[0], list | tuple):
        raise UsageError(
            "RS620",
            f"nothing was compared: one {type(models[0]).__name__} was given; models are given one by one",
            remedies=[("Take it apart", "rankscope.compare(*models)")],
        )
    for each in models:
        if not (isinstance(each, str | Path | Report) or callable(each)):
            raise UsageError(
                "RS627",
                f"nothing was compared: a {type(each).__name__} is no model",
                remedies=[("Inputs have a name", "rankscope.compare(a, b, inputs=x)")],
            )
    if len(models) < 2:
        told = f"{_short(models[0])} alone" if models else "nothing"
        raise UsageError(
            "RS620",
            f"nothing was compared: at least two models or saved reports are needed, and {told} was given",
            remedies=[("Name a second one", "rankscope compare A vs B")],
        )
    if align is not None and align not in ALIGNMENTS:
        error = unknown_name("alignment", align, list(ALIGNMENTS))
        raise error


def _short(model: object) -> str:
    """A model in a word: a module prints all of its parts."""
    if isinstance(model, Report):
        return f"the report of {model.model.get('spec', 'a model')}"
    return str(model) if isinstance(model, str | Path) else getattr(model, "__name__", type(model).__name__)


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
        created=now(),
        rankscope=__version__,
    )
