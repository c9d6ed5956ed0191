"""Merging: the reports of several runs of one model over parts of the inputs become the report of one run over all."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rankscope._version import __version__
from rankscope.depth import verdicts
from rankscope.merging.agreement import DTYPES, check, refused
from rankscope.merging.entries import merged_row, merged_vector, pooled
from rankscope.plain import now
from rankscope.records import Note, Report, Row, Vector, display_name
from rankscope.saved import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rankscope.merging.agreement import Part
    from rankscope.records import Coverage

SHORT = re.compile(r"(?P<whose>(?:.*: )?)(?P<count>\d+) of \d+ (?P<what>sequences have fewer than \d+ tokens .*)")
"""What RS533 says of one run."""
OF_ONE_RUN = {"RS512", "RS531", "RS534"}
"""Notes on what is found of a layer or a gradient of one run, and not of the whole."""


def merge(*reports: Report | str | Path) -> Report:
    """One report of several runs of one model over parts of the inputs; the twin of ``rankscope report --merge``.

    It is what one run over all the inputs would have given: samples follow each other in the order of the reports, and
    the spectra of pools are made of their merged sums (Chan, Golub & LeVeque 1983), which `probe` keeps with
    ``keep_sums=True``. Measures of a gradient are those of one loss, and are not merged. A model is told from another
    by the checksum of its file; one that was made in Python by its class, size, edits and seed alone.

    Args:
        *reports: reports, or files that `Report.save` wrote as JSON or safetensors.

    Returns:
        The report, its depth judged anew; with the sums, where all of the reports hold them.

    Raises:
        TypeError: there is no report.
        CannotMeasure: the reports are of different models, layers or measures, or two are of the same inputs.

    Example:
        >>> import rankscope
        >>> net, x = torch.nn.Linear(4, 4), torch.randn(6, 8, 4)
        >>> options = {"measures": ["mu", "pooled:effective_rank"], "device": "cpu"}
        >>> merged = merge(*[rankscope.probe(net, part, keep_sums=True, **options) for part in (x[:2], x[2:])])
        >>> whole = rankscope.probe(net, x, **options)
        >>> [round(row.value, 9) for row in merged.rows] == [round(row.value, 9) for row in whole.rows]
        True
    """
    if not reports:
        raise TypeError("expected at least one report")
    parts = [_named(number, report) for number, report in enumerate(reports, 1)]
    first = parts[0][1]
    if len(parts) == 1:
        return first
    check(parts)
    found, sums = pooled(parts)
    try:
        rows = tuple(merged_row(same, found) for same in _alike(parts, "rows"))
    except OverflowError as large:
        error = refused("samples are too large to be added")
        raise error from large
    spectra = tuple(merged_vector(same, found, parts) for same in _alike(parts, "spectra"))
    eps = torch.finfo(DTYPES[first.environment["dtype"]]).eps
    depth, told = verdicts(rows, eps)
    layers = [[report.layers[place] for _, report in parts] for place in range(len(first.layers))]
    return replace(
        first,
        layers=tuple(replace(same[0], shape=max(layer.shape for layer in same)) for same in layers),
        rows=rows,
        spectra=spectra,
        inputs=_inputs([report for _, report in parts]),
        depth=depth,
        coverage=_coverage(parts, [*rows, *spectra]),
        notes=(*_notes(parts, eps), *told),
        created=now(),
        rankscope=__version__,
        sums=sums,
    )


def _named(number: int, report: Report | str | Path) -> Part:
    if isinstance(report, Report):
        return f"report {number}", report
    return f"report {number} ({display_name(Path(report).name)})", load(report)


def _alike(parts: Sequence[Part], kind: str) -> Iterator[list[tuple[str, Any]]]:
    """The entries of one place and measure in all reports, each with the name of its report."""
    for same in zip(*(getattr(report, kind) for _, report in parts), strict=True):
        yield [(name, entry) for (name, _), entry in zip(parts, same, strict=True)]


def _inputs(parts: Sequence[Report]) -> dict[str, Any]:
    """What is said of the inputs; the fingerprint is that of the parts' in their order."""
    facts = [part.inputs for part in parts]
    prints = [given for each in facts for given in each.get("parts") or [each["sha256"]]]
    lengths = [length for each in facts for length in each["lengths"]]
    seeds = {each.get("seed") for each in facts}
    return {
        "source": f"merged of {len(prints)} runs",
        "sha256": hashlib.sha256(" ".join(prints).encode()).hexdigest(),
        "sequences": sum(each["sequences"] for each in facts),
        "tokens": sum(each["tokens"] for each in facts),
        "lengths": [min(lengths), max(lengths)],
        "seed": seeds.pop() if len(seeds) == 1 else None,
        "parts": prints,
    }


def _coverage(parts: Sequence[Part], entries: Sequence[Row | Vector]) -> Coverage:
    """Layers that ran in any part, and those with a number of all parts."""
    each = [report.coverage for _, report in parts]
    skipped = {name: reason for one in each for name, reason in one.skipped.items()}
    measured = len({(entry.stack, entry.layer_index) for entry in entries if entry.status == "ok"})
    return replace(each[0], fired=max(one.fired for one in each), measured=measured, skipped=skipped)


def _notes(parts: Sequence[Part], eps: float) -> list[Note]:
    """The notes of all, each once; short sequences are added up, and of a note not of all parts it is said of which."""
    total = sum(report.inputs["sequences"] for _, report in parts)
    short: Counter[tuple[str, str]] = Counter()
    own: list[tuple[str, Note]] = []
    for name, report in parts:
        for note in _lasting(report, eps):
            if counted := SHORT.fullmatch(note.text):
                short[counted["whose"], counted["what"]] += int(counted["count"])
            else:
                own.append((name, note))
    times = Counter(note for _, note in own)
    every = [note if times[note] == len(parts) else replace(note, text=f"{name}: {note.text}") for name, note in own]
    added = [Note("RS533", f"{whose}{count} of {total} {what}") for (whose, what), count in short.items()]
    return [*dict.fromkeys(every), *added]


def _lasting(report: Report, eps: float) -> list[Note]:
    """The notes of a report without what was said of its depth and its gradients alone."""
    told = verdicts(report.rows, eps)[1]
    return [note for note in dict.fromkeys(report.notes) if note not in told and note.code not in OF_ONE_RUN]
