"""Two models on the same inputs, layer by layer: `python examples/side_by_side.py baseline lambda-skip`.

Without names it compares the two demo checkpoints, which differ in one number: the λ of their skip connections.
"""

from __future__ import annotations

import string
import sys

from rich import box
from rich.console import Console
from rich.table import Table

import rankscope

MEASURES = {
    "mu_bar_unit": "mu-bar",
    "rank_one_residual_unit": "rank-1\nresidual",
    "effective_rank_unit": "effective\nrank",
}


def main(names: list[str]) -> None:
    """Print the measures of each model beside the others', then the verdicts."""
    reports = [rankscope.probe(name, measures=list(MEASURES)) for name in names]
    letters = string.ascii_uppercase[: len(names)]
    console = Console()
    for letter, name, report in zip(letters, names, reports, strict=True):
        console.print(f"{letter}  {name} ({report.model['parameters']:,} parameters)", highlight=False)
        for note in report.notes:
            if note.code == "RS501":  # a random model is never shown as if it had learned
                console.print(f"   {note.text}", highlight=False)

    table = Table(box=box.SIMPLE_HEAD, title="tokens scaled to unit norm", title_justify="left")
    table.add_column("\n\nlayer", justify="right", no_wrap=True)
    for heading in MEASURES.values():
        above = "\n" * (1 - heading.count("\n"))
        for letter in letters:
            table.add_column(f"{above}{heading}\n{letter}", justify="right", no_wrap=True)
    values = [{(row.measure, row.layer_index): row.value for row in report.rows} for report in reports]
    for k in range(max(layer.index for report in reports for layer in report.layers) + 1):
        cells = [found.get((measure, k)) for measure in MEASURES for found in values]
        table.add_row(str(k), *("–" if cell is None else f"{cell:.3f}" for cell in cells))
    console.print(table)

    for letter, name, report in zip(letters, names, reports, strict=True):
        verdict = report.depth[0]
        where = f" from {verdict.layer} on" if verdict.layer else ""
        console.print(f"{letter}  {name}: {verdict.verdict}{where}", highlight=False)
    same = len({report.inputs["sha256"] for report in reports}) == 1
    console.print("on the same inputs" if same else "the inputs differ: the columns cannot be compared")


if __name__ == "__main__":
    main(sys.argv[1:] or ["baseline", "lambda-skip"])
