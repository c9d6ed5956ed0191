"""Targets: what is asked of the numbers, what exactly is compared, and whether it was met."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.timing import extra, extra_ratio, ratio, worst

if TYPE_CHECKING:
    from collections.abc import Callable

MB = 1e6
TOLERANCE = 1e-4
"""Between the naive hook's float32 numbers and ours; its SVD alone is off by up to 1e-5 on trained activations."""
Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A line of the table; `limit` is None where a number is only told, `sense` on which side of it is good."""

    what: str
    compared: str
    value: Callable[[Results], float | None]
    limit: float | None = None
    sense: Literal["most", "least"] = "most"
    unit: str = "×"


@dataclass(frozen=True, slots=True)
class Line:
    """A target and what was measured; `met` is None where there is no target, false where nothing was measured."""

    what: str
    compared: str
    unit: str
    sense: str
    limit: float | None
    measured: float | None
    met: bool | None

    def dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def lines(targets: tuple[Target, ...], results: Results) -> list[Line]:
    """Judge results.

    Args:
        targets: of the CPU or of CUDA.
        results: the raw numbers of a run.

    Returns:
        One line a target.
    """
    return [_line(target, results) for target in targets]


def missed(found: list[Line]) -> list[Line]:
    """The lines whose target was not met, or not measured."""
    return [line for line in found if line.met is False]


def alone_rows(results: Results) -> list[tuple[str, float | None, float | None]]:
    """What was run by itself at 8×512: the contender, its time over the plain forward's, its megabytes beyond it.

    Both are None where it failed, or is not installed.
    """
    once = results.get("once", {})
    names = [name for name in once if name.endswith(" 8×512") and not name.startswith("plain")]
    if "peak" not in once.get("plain 8×512", {}):
        return []
    return [
        (name.removesuffix(" 8×512"), _alone(name)(results), _memory(results, name))
        if "peak" in once[name]
        else (name.removesuffix(" 8×512"), None, None)
        for name in names
    ]


def _line(target: Target, results: Results) -> Line:
    try:
        value = target.value(results)
    except KeyError:  # a part of the run was left out, failed, or a peer is not installed
        value = None
    met = None
    if target.limit is not None:
        met = value is not None and (value <= target.limit if target.sense == "most" else value >= target.limit)
    return Line(target.what, target.compared, target.unit, target.sense, target.limit, value, met)


def _ratio(where: str, one: str, other: str) -> Callable[[Results], float | None]:
    return lambda results: ratio(results["timing"][where], one, other)


def _extra_ratio(where: str) -> Callable[[Results], float | None]:
    return lambda results: extra_ratio(results["timing"][where], "same", "naive")


def _alone(where: str) -> Callable[[Results], float | None]:
    """Ratio to the plain forward of what was run by itself."""
    return lambda results: results["once"][where]["seconds"] / results["once"][where]["plain"]


def _beyond(results: Results, where: str, key: str = "seconds") -> float:
    """Extra seconds of what was run by itself."""
    found: float = results["once"][where][key] - results["once"][where]["plain"]
    return found


def _times_less(peer: str, ours: str, key: str = "seconds") -> Callable[[Results], float | None]:
    """How many times a peer's extra time ours is less than.

    None where either has none: the noise of that run is larger than what was to be measured.
    """

    def times(results: Results) -> float | None:
        theirs, own = _beyond(results, peer, key), _beyond(results, ours)
        return theirs / own if min(theirs, own) > 0 else None

    return times


def _memory(results: Results, where: str) -> float:
    """Megabytes beyond the plain forward."""
    return _between(results, "plain 8×512", where)


def _between(results: Results, one: str, other: str) -> float:
    """Megabytes by which a peak is over another."""
    found: float = results["once"][other]["peak"] - results["once"][one]["peak"]
    return found / MB


def _memory_less(peer: str, ours: str) -> Callable[[Results], float | None]:
    return lambda results: _memory(results, peer) / max(_memory(results, ours), 1.0)


def _worst(results: Results, *, equal: bool) -> float:
    errors: list[float] = [
        entry["auto"] for entry in results["accuracy"] if (entry["family"] == "all tokens equal") == equal
    ]
    return worst(errors)


def _over_parts(where: str) -> Callable[[Results], float | None]:
    def over(results: Results) -> float | None:
        timed = results["timing"][where]
        parts = [plain + spectra for plain, spectra in zip(timed["plain"], timed["spectra"], strict=True)]
        return ratio({"probe": timed["forward"], "parts": parts}, "probe", "parts")

    return over


def _distance(index: int) -> Callable[[Results], float | None]:
    return lambda results: results["floor"][index]["measured"] / results["floor"][index]["floor"]


def _per_spectrum(results: Results) -> float | None:
    found = extra(results["timing"]["8×512"], "forward")
    return None if found is None else found / results["spectra"] * 1e3


PROBE = "a whole rankscope.probe: options, trace of the model, batches, report"
WIDTH = "12 blocks of width 256, one batch"
EDITED = f"{WIDTH}; the forward pass alone: the model was traced and the edit made before"
ONCE = "each in a process of its own, median of up to three"
CPU: tuple[Target, ...] = (
    Target(
        "probe `forward` / plain forward, 8×128",
        f"{PROBE}; five batches of 8×128",
        _ratio("8×128, 5 batches", "forward", "plain"),
        1.10,
    ),
    Target(
        "the same for one batch of 8×128",
        "the trace, a forward of one sequence, is paid for by one batch alone",
        _ratio("8×128", "forward", "plain"),
    ),
    Target(
        "probe `forward` / plain forward, 8×512",
        f"{PROBE}; one batch; exact raw and unit spectra of every sequence at the input and after every block",
        _ratio("8×512", "forward", "plain"),
        1.25,
    ),
    Target("the same at 4×1024", "one batch", _ratio("4×1024", "forward", "plain")),
    *(
        Target(
            f"probe `forward` / its parts, {inputs}",
            "parts: the plain forward, and raw and unit spectra of tokens of the same shape without the model; the "
            "rest is the trace, values, all other measures and the report",
            _over_parts(inputs),
        )
        for inputs in ("8×128, 5 batches", "8×512", "4×1024")
    ),
    Target("cheap tier / plain forward, 8×512", f"{ONCE}; mu, mu_bar, norms, two ranks", _alone("cheap 8×512")),
    Target(
        "probe `quick` / plain forward + backward, 8×512",
        "one batch; plain: gradients of all 8 sequences; quick: by default those of the first 1024 tokens",
        _ratio("8×512", "quick", "backward"),
        1.20,
    ),
    Target(
        "probe `quick` / plain forward + backward, 8×128",
        "one batch; both take the gradients of all 1024 tokens; quick measures the same forward pass",
        _ratio("8×128", "quick", "backward"),
        1.45,
    ),
    Target(
        "probe `full` / plain forward + backward, 8×512",
        f"{ONCE}; every measure in every form, weights' gradients too; the backward's median of the run",
        lambda r: r["once"]["full 8×512"]["seconds"] / statistics.median(r["timing"]["8×512"]["backward"]),
    ),
    Target(
        "edit λ = 0.5 / plain forward, 8×128",
        f"{EDITED}; the skip of all 24 sums times a number",
        _ratio("edits", "λ = 0.5", "plain"),
        1.10,
    ),
    Target(
        "edit λ = 1 / plain forward, 8×128",
        f"{EDITED}; every place is met, and left as it is",
        _ratio("edits", "λ = 1", "plain"),
        1.10,
    ),
    Target(
        "a traced forward / plain forward, 8×128",
        f"{WIDTH}; every operation of the whole batch is watched, which edits and probes do once, for one sequence",
        _ratio("edits", "trace", "plain"),
    ),
    Target(
        "a whole `rankscope.edit` / plain forward, 8×128",
        f"{WIDTH}; inputs read, trace of 31 tokens, plan, and one edited forward pass",
        _ratio("edits", "edit", "plain"),
    ),
    Target(
        "extra time against the naive hook, one thread",
        "8×512, two blocks of the same width, small vocabulary; the same five numbers of the same spectra",
        _extra_ratio("spectra, 1 thread"),
        1 / 2.5,
    ),
    Target(
        "extra time against the naive hook, all threads",
        "the same; the naive hook with LAPACK's own threads",
        _extra_ratio("spectra"),
        1 / 3.5,
    ),
    Target(
        "extra time of `forward` a sequence and layer, 8×512",
        "all of it beyond the plain forward, trace and report too",
        _per_spectrum,
        unit="ms",
    ),
    Target(
        "the naive hook's numbers against ours",
        "mu, effective rank, stable rank, participation ratio, numerical rank of every sequence and layer, 8×512: "
        "largest relative difference; the tolerance is that of its float32",
        lambda r: r["once"]["naive 8×512"]["disagreement"],
        TOLERANCE,
        unit="",
    ),
    Target(
        "delve: extra time over ours",
        f"{ONCE}, 8×512; delve: one pooled spectrum of each of the 12 last linear maps (it hooks no blocks); ours: "
        "one pooled spectrum of the input and of each of the 12 blocks",
        _times_less("delve 8×512", "pooled 8×512"),
        5,
        "least",
    ),
    Target(
        "TorchLens: extra time over ours",
        f"{ONCE}, 8×512; TorchLens: full trace, then its effective_dimensionality of every sequence and block; ours: "
        "five numbers of the spectrum of every sequence and block",
        _times_less("torchlens 8×512", "same 8×512"),
        5,
        "least",
    ),
    Target(
        "TorchLens: the trace alone over ours",
        "the same without the ranks: what is only recorded against what is measured",
        _times_less("torchlens 8×512", "same 8×512", "trace_s"),
    ),
    Target(
        "TorchLens: extra memory over ours",
        f"{ONCE}, 8×512; peak memory beyond the plain forward's, the packages' own imports too",
        _memory_less("torchlens 8×512", "same 8×512"),
        3,
        "least",
    ),
    Target(
        "RankMe's arithmetic: extra time over ours",
        f"{ONCE}, 8×512; float32 SVD of the pooled tokens of each block, as in stable-pretraining 0.1.8; ours: pooled "
        "spectra",
        _times_less("rankme 8×512", "pooled 8×512"),
    ),
    Target(
        "weightwatcher",
        f"{ONCE}; another job: spectra of the weights alone, no input is run",
        lambda r: r["once"]["weightwatcher 8×512"]["seconds"],
        unit="s",
    ),
    Target(
        "peak memory of `forward` over the plain forward",
        f"{ONCE}, 8×512, 12 layers; rankscope's own imports too; freed blocks over 1 MB are given back",
        lambda r: _between(r, "memory of plain 8×512", "memory of forward 8×512"),
        300,
        unit="MB",
    ),
    Target(
        "20 batches against 1",
        "peak memory of `forward`, 2×512, 12 layers, small vocabulary",
        lambda r: _between(r, "memory of forward 2×512", "memory of forward 2×512, 20 batches"),
        20,
        unit="MB",
    ),
    Target(
        "effective rank against a float64 SVD",
        "largest relative error over the families of float32 data, 512×768 and 128×384, as a probe takes it",
        lambda r: _worst(r, equal=False),
        1e-6,
        unit="",
    ),
    Target("the same where all tokens are equal", "the same", lambda r: _worst(r, equal=True), 2e-5, unit=""),
    *(
        Target(
            f"reduction / floor, {inputs}",
            "raw and unit spectra of all layers without the model, over the counted floor at this machine's rates",
            _distance(index),
        )
        for index, inputs in enumerate(("8×128", "8×512", "4×1024"))
    ),
)
