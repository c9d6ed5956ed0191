"""Agreement: reports that no one run could have given are not merged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rankscope.errors import CannotMeasure
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rankscope.records import Keyed, Report

Part = tuple[str, "Report"]  # with its name in a message
DTYPES = {
    str(each).removeprefix("torch."): each for each in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}


def _model(report: Report) -> list[Any]:
    """What tells a model from others; of one that came from no file, what was typed and the seed of its weights."""
    facts, seeds = report.model, [note.text for note in report.notes if note.code == "RS501"]
    name = facts.get("sha256") or facts.get("spec")
    return [name, *(facts.get(key) for key in ("class", "parameters", "edits")), *seeds]


def _words(entry: Keyed) -> str:
    """The key of a row."""
    of = "".join(
        f", {name} {value}" for name, value in (("head", entry.head), ("of", entry.parameter)) if value is not None
    )
    return (
        f"{entry.measure} (version {entry.version}) at {entry.layer} of {entry.stack}, {entry.scope}, {entry.site}{of}"
    )


SAME: dict[str, Callable[[Report], list[Any]]] = {
    "model": _model,
    "dtype": lambda report: [report.environment.get("dtype")],
    "way to spectra": lambda report: [report.environment.get("spectra")],
    "layer": lambda report: [(layer.stack, layer.index, layer.name) for layer in report.layers],
    "row": lambda report: [_words(each) for each in (*report.rows, *report.spectra)],
}
"""What reports have to agree in, by its name."""


def check(parts: Sequence[Part]) -> None:
    """Make sure that one run could have given all reports.

    Args:
        parts: at least two.

    Raises:
        CannotMeasure: they differ in what they are of, or two are of the same inputs.
    """
    one, first = parts[0]
    for other, report in parts[1:]:
        for what, of in SAME.items():
            ours, theirs = of(first), of(report)
            if ours != theirs:
                sides = ((one, ours, theirs), (other, theirs, ours))
                alone = [(name, [each for each in mine if each not in others]) for name, mine, others in sides]
                details = [(f"in {name} alone", display_name(str(each[0]))) for name, each in alone if each]
                error = refused(f"{other} has another {what} than {one}", details)
                raise error
    if (dtype := str(first.environment.get("dtype"))) not in DTYPES:
        error = refused(f"{one} names no dtype that is measured, but {dtype!r}")
        raise error
    seen: dict[str, str] = {}
    for name, report in parts:
        if not _is_said(report.inputs):
            error = refused(f"{name} does not say which sequences and tokens it is of")
            raise error
        for given in report.inputs.get("parts") or [report.inputs["sha256"]]:
            if (before := seen.setdefault(given, name)) != name:
                leave = [("Leave one of them out", "rankscope report PARTS --merge -o whole.json")]
                error = refused(f"{before} and {name} are of the same inputs", remedies=leave)
                raise error


def _is_said(inputs: Any) -> bool:
    """Whether facts of inputs are such as a report has."""
    counts, lengths, prints = (
        [inputs.get(n) for n in ("sequences", "tokens")],
        inputs.get("lengths"),
        inputs.get("parts"),
    )
    return (
        isinstance(lengths, list | tuple)
        and len(lengths) == 2
        and all(isinstance(count, int) and count >= 0 for count in (*counts, *lengths))
        and isinstance(inputs.get("seed"), int | None)
        and isinstance(prints, list | tuple | None)
        and all(isinstance(given, str) for given in (inputs.get("sha256"), *(prints or ())))
    )


def refused(
    why: str, details: Sequence[tuple[str, str]] = (), remedies: Sequence[tuple[str, str]] = ()
) -> CannotMeasure:
    """The error for reports that are not merged.

    Args:
        why: in words.
        details: of it.
        remedies: what to do, where that is not to measure a part anew.

    Returns:
        The error, to be raised by the caller.
    """
    same = "Measure that part anew, with the same model, --measures, --layers and --memory"
    anew = [(same, "rankscope probe MODEL -o PART.safetensors")]
    headline = f"the reports were not merged: {why}"
    return CannotMeasure("RS611", headline, details=list(details), remedies=list(remedies or anew))
