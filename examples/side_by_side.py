"""Two models on the same inputs, layer by layer: `python examples/side_by_side.py baseline lambda-skip`.

Without names it compares the two demo checkpoints, which differ in one number: the λ of their skip connections.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

import rankscope

MEASURES = ("mu_bar_unit", "rank_one_residual_unit", "effective_rank_unit", "value_cosine")


def main(names: list[str]) -> None:
    """Print the measures of each model beside the others'."""
    reports = {name: rankscope.probe(name, measures=MEASURES) for name in names}
    fingerprints = {report.inputs["sha256"] for report in reports.values()}
    table = Table("layer", *(f"{name}\n{measure}" for measure in MEASURES[:3] for name in names))
    found = {
        name: {(row.layer_index, row.measure): row.value for row in report.rows} for name, report in reports.items()
    }
    depth = max(layer.index for report in reports.values() for layer in report.layers)
    for k in range(depth + 1):
        cells = [found[name].get((k, measure)) for measure in MEASURES[:3] for name in names]
        table.add_row(str(k), *("-" if cell is None else f"{cell:.3f}" for cell in cells))
    console = Console()
    console.print(table)
    for name, report in reports.items():
        verdict = report.depth[0]
        console.print(f"{name}: {verdict.verdict}" + (f" from {verdict.layer} on" if verdict.layer else ""))
    console.print("same inputs" if len(fingerprints) == 1 else "the inputs differ: the columns cannot be compared")


if __name__ == "__main__":
    main(sys.argv[1:] or ["baseline", "lambda-skip"])
