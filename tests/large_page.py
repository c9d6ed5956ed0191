"""The largest pages that have limits: 96 layers, three models and the measures of the preset `full`.

The tests hold them to their sizes, and ``benchmarks/html_page.py`` takes their times.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from reports import SEQUENCES, a_report

from rankscope import compare
from rankscope.explanations import measure_names
from rankscope.records import Vector
from rankscope.renderers import COMPARISONS, FINDINGS, RENDERERS
from rankscope.requirements import judge, parse

if TYPE_CHECKING:
    from rankscope.records import Report
    from rankscope.requirements import Requirement

DEPTH = 96
MOST = 1_000_000  # bytes of a page
NAMES = (
    "runs/baseline/step-1000.safetensors",
    "runs/other/step-1000.safetensors",
    "hf:organisation/model-of-96-layers",
)
DECAYS = (0.9, 0.99, 0.95)


def a_large_report(spec: str, decay: float, depth: int = DEPTH) -> Report:
    """All measures, sequence by sequence and pooled: numbers of `a_report` where it has them, all with some noise."""
    base = a_report(depth=depth, decay=decay, spec=spec)
    noise = random.Random(spec)
    had = {row.measure for row in base.rows}
    like = [row for row in base.rows if row.measure == "effective_rank_unit"]
    rows = list(base.rows)
    vectors = []
    for i, name in enumerate(name for name in measure_names() if name not in had and not name.startswith("head:")):
        scope, _, measure = name.rpartition(":")
        if "singular_values" in measure:  # had by its name alone
            continue
        if measure == "value_spectrum":
            where = [(row.stack, row.layer_index, _name(row.layer_index), "block", scope or "sequence") for row in like]
            spectrum = tuple(tuple(math.exp(-j * noise.uniform(0.1, 0.2)) for j in range(64)) for _ in range(2))
            vectors += [Vector(*place, None, None, measure, 1, spectrum) for place in where]
            continue
        rows += [
            replace(row, measure=measure, scope=scope or "sequence", value=(row.value or 0.0) * (1 + i / 97))
            for row in like
        ]
    noisy = []
    for row in rows:
        samples = tuple((row.value or 0.0) * noise.gauss(1, 0.03) for _ in range(SEQUENCES))
        told = {"value": sum(samples) / SEQUENCES, "min": min(samples), "max": max(samples), "samples": samples}
        noisy.append(replace(row, layer=_name(row.layer_index), **(told if row.value is not None else {})))
    layers = tuple(replace(layer, name=_name(layer.index)) for layer in base.layers)
    return replace(base, rows=tuple(noisy), layers=layers, spectra=tuple(vectors))


def _name(k: int) -> str:
    return f"model.layers.{k}"


@cache
def large_reports(depth: int = DEPTH) -> tuple[Report, ...]:
    return tuple(a_large_report(name, decay, depth) for name, decay in zip(NAMES, DECAYS, strict=True))


def many_rules() -> list[Requirement]:
    """Rules on every measure, most of which fail somewhere."""
    every = [name for name in measure_names() if ":" not in name and "spectrum" not in name and "values" not in name]
    return [parse(f"{name} {way} @ {at}") for name in every for way in (">= 0.5", "<= 9") for at in ("first", "*")]


@cache
def large_pages() -> dict[str, str]:
    """Each page by its name."""
    reports = large_reports()
    return {
        "reports": RENDERERS["html"].text(reports),
        "comparison": COMPARISONS["html"].text(compare(*reports)),
        "findings": FINDINGS["html"].text(judge(reports[0], many_rules())),
    }
