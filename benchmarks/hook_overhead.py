"""What measuring costs: a plain forward pass against a probe of the same pass.

Both are run in turn on one model and one batch, so that a busy machine slows both; the ratio is that of the medians. A
probe also traces the model once and computes every number of its report. JSON goes to stdout, and to a file with --out.

    python benchmarks/hook_overhead.py --model zoo:transformer,depth=12,width=256 --measures forward
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import rankscope
from rankscope.inputs import InputOptions, gather
from rankscope.pipeline import MeasureOptions, measure
from rankscope.sources import open_model

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 2


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(model: str, random: str | None, measures: list[str], repeats: int) -> dict[str, Any]:
    """Time a plain forward and a probe in turn."""
    source = open_model(model)
    inputs = gather(source, InputOptions(random=(random,) if random else (), batches=1))
    batch = next(iter(inputs.batches))
    options = MeasureOptions(measures=measures, device="cpu")
    source.model.eval()

    def plain() -> None:
        with torch.no_grad():
            source.model(*batch.args, **batch.kwargs)

    def probe() -> None:
        measure(source, inputs, options)

    for _ in range(WARM_UP):
        plain()
        report = measure(source, inputs, options)
    pairs = [(seconds(plain), seconds(probe)) for _ in range(repeats)]
    plain_s, probe_s = ([pair[i] for pair in pairs] for i in range(2))
    return {
        "model": model,
        "parameters": report.model["parameters"],
        "inputs": inputs.source,
        "tokens": report.inputs["tokens"],
        "layers": len(report.layers),
        "measures": measures,
        "repeats": repeats,
        "plain_s": {"median": statistics.median(plain_s), "min": min(plain_s), "max": max(plain_s)},
        "probe_s": {"median": statistics.median(probe_s), "min": min(probe_s), "max": max(probe_s)},
        "ratio": statistics.median(probe_s) / statistics.median(plain_s),
    }


def main() -> int:
    """Run the comparison.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="zoo:transformer,depth=12,width=256")
    parser.add_argument("--random", help="inputs, such as ids=8x128:int64:0..255; inferred if not given")
    parser.add_argument("--measures", default="forward")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    result = {
        "benchmark": "hook_overhead",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rankscope": rankscope.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        **compare(given.model, given.random, given.measures.split(","), given.repeats),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
