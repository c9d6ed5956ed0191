"""The page of 96 layers, three models and every measure, written by a process of its own, which nothing slows down.

``python tests/large_page.py FILE.html`` prints how many measures there are, and the least processor time of three runs.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reports import a_report

from rankscope.explanations import measure_names
from rankscope.renderers import RENDERERS

if TYPE_CHECKING:
    from rankscope.records import Report

DEPTH = 96


def a_large_report(spec: str, decay: float) -> Report:
    """All measures, sequence by sequence and pooled, that of `a_report` where it has them."""
    base = a_report(depth=DEPTH, decay=decay, spec=spec)
    had = {row.measure for row in base.rows}
    like = [row for row in base.rows if row.measure == "effective_rank_unit"]
    rows = list(base.rows)
    for i, name in enumerate(name for name in measure_names() if name not in had and not name.startswith("head:")):
        scope, _, measure = name.rpartition(":")
        rows += [
            replace(row, measure=measure, scope=scope or "sequence", value=(row.value or 0.0) * (1 + i / 97))
            for row in like
        ]
    return replace(base, rows=tuple(replace(row, layer=f"model.layers.{row.layer_index}") for row in rows))


def large_reports() -> list[Report]:
    names = ("runs/baseline/step-1000.safetensors", "runs/other/step-1000.safetensors", "c")
    return [a_large_report(name, decay) for name, decay in zip(names, (0.9, 0.99, 0.95), strict=True)]


if __name__ == "__main__":
    reports = large_reports()
    RENDERERS["html"].text(reports)
    taken = []
    for _ in range(3):
        start = time.process_time()
        text = RENDERERS["html"].text(reports)
        taken.append(time.process_time() - start)
    Path(sys.argv[1]).write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len({(row.measure, row.scope) for row in reports[0].rows})} {min(taken):.3f}\n")
