"""Page: docs/performance.md out of the latest results; what is written there by hand between two marks is kept.

python -m benchmarks.page
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import cuda
from benchmarks.plot import plot
from benchmarks.table import WORDS, number, target, verdict
from benchmarks.targets import CPU, Line, Target, alone_rows, lines

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"
BEGIN, END = "<!-- by hand -->\n", "<!-- to here -->\n"
BY_HAND = "Nothing has been written here yet.\n"
KINDS: dict[str, tuple[str, tuple[Target, ...]]] = {"cpu": ("CPU", CPU), "cuda": ("CUDA", cuda.TARGETS)}
HEAD = """<!-- Made by benchmarks/page.py from benchmarks/results/: run the benchmark, then `make bench-page`. -->

# Performance

What a probe costs beside the plain forward pass, beside a naive hook and beside other packages; how exact its numbers
are; and how far it is from what spectra must cost. Every ratio is of contenders that were timed in turn in one run, and
is the median over the rounds, or of as many runs as its line says. Absolute times say little about another machine.
"""
ALONE = """## Every contender on its own

One batch of 8×512, each in a process of its own beside a plain forward; memory is the peak of the process beyond
that of a plain forward's, the imports of the package too.

| contender | time / plain forward | memory beyond it |
|---|---:|---:|
"""
AGAIN = """## How to repeat it

```sh
make bench                                                        # the CPU; 2 cores take about 25 minutes
make bench ARGS=--assert                                          # exit code 1 where a target is missed
make bench ARGS='--json benchmarks/results/2026-01-31-cpu.json'   # all numbers; the page takes the latest date
make bench ARGS='--only accuracy floor'                           # parts of it
make bench-cuda                                                   # on a machine with a CUDA device
make bench-page                                                   # this page
```

A quiet machine matters: anything else that runs is shared out unevenly between contenders, and the naive hook, whose
LAPACK threads wait for each other, suffers most. `make bench` installs the other packages into `.venv`; without one its
lines read "not measured", which `--assert` takes for a miss. The files in `benchmarks/results/` hold every single time.
"""


def latest(folder: Path, kind: str) -> dict[str, Any] | None:
    """The newest results of a kind, by the date in the name of the file."""
    files = sorted(folder.glob(f"*-{kind}.json"))
    return json.loads(files[-1].read_text(encoding="utf-8")) if files else None


def page(reports: dict[str, dict[str, Any] | None], by_hand: str, picture: str) -> str:
    """The page.

    Args:
        reports: the latest of each of `KINDS`, None where there is none.
        by_hand: what is missed and why.
        picture: of the growth curves, its name beside the page; empty where there is none.

    Returns:
        Markdown.
    """
    parts = [HEAD]
    for kind, (title, targets) in KINDS.items():
        report = reports[kind]
        parts.append(f"## {title}\n")
        if report is None:
            parts.append("Not measured yet. The targets:\n")
        else:
            parts.append(f"{report['date']}, rankscope {report['rankscope']}. {_machine(report['machine'])}\n")
            parts.append(f"Model: {report['model']}.\n")
        parts.append(_table(lines(targets, report["results"] if report else {})))
    if rows := alone_rows((reports["cpu"] or {}).get("results", {})):
        parts.append(
            ALONE
            + "\n".join(f"| {WORDS.get(n, n)} | {number(t, '×')} | {number(m, 'MB')} |" for n, t, m in rows)
            + "\n"
        )
    if picture:
        parts.append(f"## How the cost grows\n\n![Extra time against tokens, width, depth and batches]({picture})\n")
        parts.append(_growth((reports["cpu"] or {})["results"]["growth"]))
    parts += ["## What is missed, and why\n", BEGIN + by_hand + END, AGAIN]
    return "\n".join(parts)


def _machine(words: dict[str, Any]) -> str:
    known = ("cpu", "device", "cores", "threads", "system", "python", "torch", "numpy", "cuda", "libraries")
    told = [(name, words[name]) for name in known if words.get(name) is not None]
    facts = "; ".join(f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in told) + "."
    share = words.get("taken")
    return facts if share is None else f"{facts} The host gave {share:.0%} of the processors' time to others."


def _table(found: Sequence[Line]) -> str:
    rows = ["| what | target | measured | | what is compared |", "|---|---:|---:|---|---|"]
    for line in found:
        word = verdict(line)
        state = f"**{word}**" if line.met is False else word
        measured = number(line.measured, line.unit)
        cells = (line.what, target(line), measured, state if line.measured is not None else "", line.compared)
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _growth(found: dict[str, Any]) -> str:
    base = found["base"]
    sizes = f"{base['sequences']}×{base['tokens']} tokens, {base['depth']} blocks of width {base['width']}"
    return f"One size grows, the others stay at {sizes}, {base['batches']} batch; medians of {found['rounds']}.\n"


def kept(path: Path) -> str:
    """What was written by hand on the page that is there."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text.partition(BEGIN)[2].partition(END)[0] or BY_HAND


def main(results: Path = RESULTS, docs: Path = DOCS) -> int:
    """Write the page and its picture.

    Returns:
        0.
    """
    reports = {kind: latest(results, kind) for kind in KINDS}
    curves = (reports["cpu"] or {}).get("results", {}).get("growth")
    target_file = docs / "performance.md"
    if curves:
        (docs / "performance.svg").write_text(plot(curves), encoding="utf-8")
    text = page(reports, kept(target_file), "performance.svg" if curves else "")
    target_file.write_text(text, encoding="utf-8")
    print(
        f"{target_file.name}: " + ", ".join(f"{kind} {(report or {}).get('date')}" for kind, report in reports.items())
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
