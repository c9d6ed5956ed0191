"""The benchmark of a CUDA device: the spectral engine on one stack, and probes beside the plain forward.

    python -m benchmarks.cuda

Every time is wall time between two synchronisations. Without a CUDA device it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import rankscope
from benchmarks.accuracy import FAMILIES, LIMIT, LIMIT_EQUAL, NEED, effective_rank, family, singular_values
from benchmarks.contenders import CHEAP, ours, plain
from benchmarks.machine import machine
from benchmarks.setting import Job, Setting
from benchmarks.table import show
from benchmarks.targets import Target, lines, missed
from benchmarks.timing import ratio, say, seconds, settled, worst
from rankscope.moments import moments, solve
from rankscope.spectra import cuda as engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

STACK = (96, 512, 768)
FEW = 4  # matrices of the naive loop that are timed; it takes each in turn, so the rest follows
NO_DEVICE = 3


def distance(results: dict[str, Any]) -> float:
    """Exact tier over the floor of its eigenvalue stage."""
    found: float = statistics.median(results["stack"]["ours"]) / results["floor"]
    return found


TARGETS: tuple[Target, ...] = (
    Target(
        "exact spectra of 96 × 512×768: times faster than the naive loop",
        f"bfloat16 tokens to float64 singular values, against torch.linalg.svdvals(y.float()) one by one ({FEW} timed)",
        lambda r: ratio(r["stack"], "naive", "ours"),
        100,
        "least",
    ),
    Target(
        "cheap tier / forward, 8×512",
        "probe of mu, mu_bar, norms, participation ratio, stable rank; bfloat16, 12 layers, d 768, five batches",
        lambda r: ratio(r["8×512"], "cheap", "plain"),
        1.10,
    ),
    Target("the same at 64×512", "the same model, larger batches", lambda r: ratio(r["64×512"], "cheap", "plain")),
    Target(
        "probe `forward` / forward, 8×512",
        "exact raw and unit spectra of every sequence, five batches",
        lambda r: ratio(r["8×512"], "forward", "plain"),
    ),
    Target(
        "exact tier / floor of its eigenvalue stage",
        "the first line's time; floor: the tridiagonalisation reads half of what is left of each matrix at every step, "
        "n³/6 entries, at the copy bandwidth measured in this run",
        distance,
        2.0,
    ),
    Target(
        "its eigenvalue stage / that floor",
        "the solver's call alone",
        lambda r: statistics.median(r["stack"]["eigenvalues"]) / r["floor"],
    ),
    Target(
        "effective rank on CUDA against the CPU",
        "largest relative difference over the families of float32 data, 512×768",
        lambda r: worst(entry["difference"] for entry in r["agreement"] if entry["limit"] == LIMIT),
        LIMIT,
        unit="",
    ),
    Target(
        "the same where all tokens are equal",
        "the same",
        lambda r: worst(entry["difference"] for entry in r["agreement"] if entry["limit"] == LIMIT_EQUAL),
        LIMIT_EQUAL,
        unit="",
    ),
)


def in_turn(work: Mapping[str, Callable[[], object]], device: torch.device, rounds: int) -> dict[str, list[float]]:
    """Time several in turn, after two rounds that do not count."""

    def whole(each: Callable[[], object]) -> None:
        each()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    found: dict[str, list[float]] = {name: [] for name in work}
    with settled():
        for index in range(rounds + 2):
            for name, each in work.items():
                taken = seconds(lambda each=each: whole(each))  # type: ignore[misc] # bound at once
                if index > 1:
                    found[name].append(taken)
    return found


def stack(device: torch.device, shape: tuple[int, int, int], rounds: int) -> dict[str, list[float]]:
    """Exact spectra of one stack: the engine, its eigenvalue stage, and the naive loop scaled to the whole stack."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(shape, generator=generator).to(device, torch.bfloat16)
    few = min(FEW, shape[0])
    grams = engine.grams(tokens.double())

    def exact() -> None:
        found = moments(tokens, [NEED], "gram64")
        solve([found])
        found.found[NEED].cpu()

    def naive() -> None:
        for matrix in tokens[:few]:
            torch.linalg.svdvals(matrix.float())

    work = {"ours": exact, "eigenvalues": lambda: engine.eigenvalues(grams), "naive": naive}
    found = in_turn(work, device, rounds)
    found["naive"] = [taken * shape[0] / few for taken in found["naive"]]
    return found


def probes(device: torch.device, setting: Setting, rounds: int) -> dict[str, list[float]]:
    """The plain forward and two probes of a bfloat16 model."""
    job = Job(setting)
    job.model = job.model.to(device, torch.bfloat16)
    job.batches = [ids.to(device) for ids in job.batches]
    cheap, forward = ours(*CHEAP, device="auto"), ours("forward", device="auto")
    work = {"plain": lambda: plain(job), "cheap": lambda: cheap(job), "forward": lambda: forward(job)}
    return in_turn(work, device, rounds)


def bandwidth(device: torch.device, count: int = 1 << 30) -> float:
    """Bytes a second of a copy, read and written."""
    source, target = (torch.zeros(count, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * count / min(in_turn({"copy": lambda: target.copy_(source)}, device, 5)["copy"])


def agreement(device: torch.device, rows: int, width: int) -> list[dict[str, Any]]:
    """Effective ranks on the device against the CPU, family by family."""
    found = []
    for name, words in FAMILIES.items():
        tokens = family(name, rows, width).float()
        here, there = (effective_rank(singular_values(t), rows, width) for t in (tokens, tokens.to(device)))
        limit = LIMIT_EQUAL if name == "equal" else LIMIT
        found.append({"family": words, "difference": abs(there / here - 1), "limit": limit})
    return found


def measured(
    device: torch.device, shape: tuple[int, int, int], settings: Mapping[str, Setting], rounds: int
) -> dict[str, Any]:
    """All of it.

    Args:
        device: where.
        shape: sequences, tokens and width of the stack.
        settings: of the probes, by name.
        rounds: how often each is timed.

    Returns:
        The raw numbers.
    """
    n = min(shape[1:])
    copied = bandwidth(device, 1 << 30 if device.type == "cuda" else 1 << 20)
    found: dict[str, Any] = {"copy": copied, "floor": shape[0] * 8 * n**3 / 6 / copied}
    say("agreement ...")
    found["agreement"] = agreement(device, *shape[1:])
    say("stack ...")
    found["stack"] = stack(device, shape, rounds)
    for name, setting in settings.items():
        say(f"probes, {name} ...")
        found[name] = probes(device, setting, rounds)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON.

    Returns:
        The exit code: 1 where a target was missed and --assert was given, 3 where there is no CUDA device.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--assert", action="store_true", dest="strict", help="exit 1 where a target is missed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        say(f"no CUDA device: torch {torch.__version__} finds none here, so nothing was measured")
        return NO_DEVICE
    setting = Setting(8, 512, batches=5)
    device = torch.device("cuda")
    settings = {"8×512": setting, "64×512": replace(setting, sequences=64)}
    words = {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    report: dict[str, Any] = {
        "benchmark": "cuda",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rankscope": rankscope.__version__,
        "machine": machine(torch.get_num_threads()) | words,
        "model": f"{setting.spec} in bfloat16; random weights, random ids",
        "results": measured(device, STACK, settings, given.rounds),
    }
    found = lines(TARGETS, report["results"])
    report["lines"] = [line.dict() for line in found]
    if given.json:
        given.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    show(found, f"{report['date']}, {words['device']}, CUDA {words['cuda']}, torch {torch.__version__}")
    return int(given.strict and bool(missed(found)))


if __name__ == "__main__":
    sys.exit(main())
