"""Timing: contenders in turn, round by round, so that a machine that slows down slows all of them."""

from __future__ import annotations

import contextlib
import gc
import math
import statistics
import sys
import time
from typing import TYPE_CHECKING

import torch

from benchmarks.contenders import CONTENDERS
from benchmarks.setting import TINY, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from benchmarks.setting import Setting

Seconds = dict[str, list[float]]
_warm: set[str] = set()


def say(text: str) -> None:
    """What is being done, on stderr."""
    print(text, file=sys.stderr, flush=True)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleave(setting: Setting, names: Sequence[str], rounds: int, threads: int) -> Seconds:
    """Time contenders on a setting: A B C … A B C …

    Args:
        setting: the model and its inputs.
        names: contenders; the first is run once more before the first round, for the memory that it needs.
        rounds: how often each is timed.
        threads: of torch.

    Returns:
        The seconds of each round, by contender.
    """
    torch.set_num_threads(threads)
    warm_up(names)
    job = Job(setting)
    CONTENDERS[names[0]](job)
    found: Seconds = {name: [] for name in names}
    with settled():
        for index in range(rounds):
            say(f"  {setting.words}, {threads} threads: round {index + 1} of {rounds}")
            for name in names:
                torch.set_num_threads(threads)  # none may leave its own number to the next
                found[name].append(seconds(lambda name=name: CONTENDERS[name](job)))  # type: ignore[misc] # bound at once
    return found


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """What there is stays: without this every collection of garbage between two timings goes through all of torch."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def warm_up(names: Sequence[str]) -> None:
    """Run contenders on a tiny model: what is imported and started once is not part of any number."""
    tiny = Job(TINY)
    for name in names:
        if name not in _warm:
            CONTENDERS[name](tiny)
            _warm.add(name)


def ratio(found: Mapping[str, Sequence[float]], one: str, other: str) -> float | None:
    """Median over the rounds of the time of one over that of the other in the same round."""
    return _median(a / b for a, b in zip(found[one], found[other], strict=True))


def extra(found: Mapping[str, Sequence[float]], name: str) -> float | None:
    """Median over the rounds of the seconds that a contender takes beyond the plain forward."""
    return _median(a - p for a, p in zip(found[name], found["plain"], strict=True))


def extra_ratio(found: Mapping[str, Sequence[float]], one: str, other: str) -> float | None:
    """Median over the rounds of extra time of one over extra time of the other; None where the other had none."""
    rounds = zip(found[one], found[other], found["plain"], strict=True)
    return _median((a - p) / (b - p) if b > p else math.nan for a, b, p in rounds)


def worst(values: Iterable[float]) -> float:
    """The largest; NaN where one of them is, which `max` may pass over."""
    listed = list(values)
    return math.nan if any(map(math.isnan, listed)) else max(listed)


def _median(values: Iterable[float]) -> float | None:
    listed = list(values)
    return statistics.median(listed) if listed and all(map(math.isfinite, listed)) else None
