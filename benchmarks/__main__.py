"""The benchmark of the CPU: one run, one table, one JSON file.

Ratios are of contenders that were timed in turn, in the same rounds. Absolute times say little: read the ratios.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rankscope
from benchmarks.accuracy import SHAPES, accuracy
from benchmarks.floor import COPIED, floor
from benchmarks.growth import AXES, BASE, growth
from benchmarks.machine import cores, machine, share_taken, taken
from benchmarks.once import once
from benchmarks.setting import Setting
from benchmarks.table import show, show_alone, show_failed
from benchmarks.targets import CPU, alone_rows, lines, missed
from benchmarks.timing import interleave, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHORT, LONG, WIDE = Setting(8, 128), Setting(8, 512), Setting(4, 1024)
SMALL = replace(SHORT, width=256, heads=4, vocab=256)
BLOCKS = replace(LONG, depth=2, vocab=256)
FLAT = Setting(2, 512, vocab=256)
IN_TURN: dict[str, tuple[Setting, tuple[str, ...]]] = {
    "8×128": (SHORT, ("plain", "backward", "forward", "quick")),
    "8×128, 5 batches": (replace(SHORT, batches=5), ("plain", "forward", "spectra")),
    "8×512": (LONG, ("plain", "backward", "forward", "quick", "spectra")),
    "4×1024": (WIDE, ("plain", "forward", "spectra")),
    "edits": (SMALL, ("plain", "λ = 1", "λ = 0.5", "trace", "edit")),
    "spectra": (BLOCKS, ("plain", "same", "naive")),
    "spectra, 1 thread": (BLOCKS, ("plain", "same", "naive")),
}
OURS = ("forward", "cheap", "same", "pooled", "full")
PEERS = ("delve", "torchlens", "weightwatcher", "rankme")
ALONE: dict[str, tuple[str, Setting]] = {
    **{f"{name} 8×512": (name, LONG) for name in ("plain", *OURS, "naive")},
    **{f"{name} 8×512": (name, LONG) for name in PEERS},
}
OF_MEMORY: dict[str, tuple[str, Setting]] = {
    "memory of plain 8×512": ("plain", LONG),
    "memory of forward 8×512": ("forward", LONG),
    "memory of forward 2×512": ("forward", FLAT),
    "memory of forward 2×512, 20 batches": ("forward", replace(FLAT, batches=20)),
}
SMOKE = ("plain 8×512", "forward 8×512", "memory of plain 8×512", "memory of forward 8×512")
PARTS = ("timing", "once", "accuracy", "floor", "growth")


def timing(rounds: int, threads: int, smoke: bool) -> dict[str, Any]:
    """What is timed in turn."""
    return {
        name: interleave(setting.smoke() if smoke else setting, names, rounds, 1 if "1 thread" in name else threads)
        for name, (setting, names) in IN_TURN.items()
    }


def alone(threads: int, smoke: bool) -> dict[str, Any]:
    """What is run in processes of its own."""
    found = {}
    jobs = ALONE | OF_MEMORY
    for name in SMOKE if smoke else jobs:
        say(f"  {name}, by itself")
        contender, setting = jobs[name]
        setting = setting.smoke() if smoke else setting
        found[name] = once(contender, setting, threads, giving_back=name in OF_MEMORY)
        if "failed" in found[name]:
            say(f"    failed: {found[name]['failed']}")
    return found


def measured(parts: Sequence[str], rounds: int, threads: int, smoke: bool) -> dict[str, Any]:
    """Run the parts, one after the other.

    Args:
        parts: of `PARTS`.
        rounds: of what is timed in turn.
        threads: of torch.
        smoke: whether all is tiny.

    Returns:
        The raw numbers of each part.
    """
    settings = [setting.smoke() if smoke else setting for setting in (SHORT, LONG, WIDE)]
    work: dict[str, Callable[[], Any]] = {
        "timing": lambda: timing(rounds, threads, smoke),
        "once": lambda: alone(threads, smoke),
        "accuracy": lambda: accuracy(((32, 48),) if smoke else SHAPES),
        "floor": lambda: [floor(setting, threads, rounds, 1 << 22 if smoke else COPIED) for setting in settings],
        "growth": lambda: growth(threads, BASE.smoke(), {"depth": (2, 3)}) if smoke else growth(threads, BASE, AXES),
    }
    found: dict[str, Any] = {"spectra": settings[1].spectra}
    start = time.monotonic()
    for part in parts:
        say(f"{part} ...")
        found[part] = work[part]()
    found["took"] = time.monotonic() - start
    return found


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often what is timed in turn is timed (default: 5)")
    parser.add_argument("--threads", type=int, default=cores(), help="threads (default: all cores)")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="these parts only")
    parser.add_argument("--quick", action="store_true", help="tiny models, seconds: whether it runs, not how fast")
    parser.add_argument("--assert", action="store_true", dest="strict", help="exit 1 where a target is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument(
        "--read", type=Path, metavar="FILE", help="judge the numbers of an earlier run; measure nothing"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON.

    Returns:
        The exit code: 1 where a target was missed and --assert was given.
    """
    given = options(arguments)
    if given.read:
        report = json.loads(given.read.read_text(encoding="utf-8"))
    else:
        before = taken()
        report = {
            "benchmark": "cpu",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "rankscope": rankscope.__version__,
            "machine": machine(given.threads),
            "options": {"rounds": given.rounds, "quick": given.quick, "only": list(given.only)},
            "model": f"{LONG.spec}; random weights, random ids",
            "results": measured(given.only, given.rounds, given.threads, given.quick),
        }
        report["machine"]["taken"] = share_taken(before)
    found = lines(CPU, report["results"])
    report["lines"] = [line.dict() for line in found]
    if given.json:
        given.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    words = report["machine"]
    quick = report["options"]["quick"]
    size = "tiny models in place of those named below: whether it runs, not how fast" if quick else report["model"]
    title = f"{report['date']}, {words['cpu']}, {words['threads']} threads, torch {words['torch']}\n{size}"
    show(found, title, judged=not quick)
    show_alone(alone_rows(report["results"]))
    show_failed(report["results"].get("once", {}))
    return int(given.strict and bool(missed(found)))


if __name__ == "__main__":
    sys.exit(main())
