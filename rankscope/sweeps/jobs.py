"""Jobs: the points of a sweep measured in several processes, each with its share of the threads."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from rankscope.errors import UsageError
from rankscope.sweeps.records import Point

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rankscope.inputs import InputOptions
    from rankscope.pipeline import MeasureOptions
    from rankscope.records import Batch
    from rankscope.sources import LoadOptions
    from rankscope.sweeps.axes import Spot


@dataclass(frozen=True, slots=True)
class Setup:
    """What every process must know: the batches, where they come from, and how models are opened and measured."""

    batches: tuple[Batch, ...]
    load: LoadOptions
    gathering: InputOptions
    options: MeasureOptions
    threads: int
    source: str


def packed(setup: Setup, spots: Sequence[Spot]) -> bytes:
    """The setup as bytes, if it and the models can go to another process.

    Args:
        setup: what every process must know.
        spots: the points.

    Returns:
        A pickle.

    Raises:
        UsageError: a model or a loss is an object of this process.
    """
    apart = replace(setup, gathering=replace(setup.gathering, inputs=None))
    if not all(isinstance(spot.model, str) for spot in spots):
        raise UsageError("RS474", f"{_ALONE} (a live module)", remedies=_NAMED)
    try:
        return pickle.dumps(apart)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise UsageError("RS474", f"{_ALONE} ({error})", remedies=_NAMED) from error


_ALONE = "nothing was swept in several processes: what is to be measured lives in this one"
_NAMED = (("One after the other", "leave out jobs"), ("Name the model", "package.module:factory"))


class _Worker:
    """A process that measures one point at a time; one that ends is replaced for the next point."""

    def __init__(self, setup: bytes, threads: int) -> None:
        self._setup, self._threads = setup, threads
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def __call__(self, spot: Spot) -> Point:
        """The measured point; where the process ended over it, the reason."""
        process = self._process or self._begin()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(spot, process.stdin)
            process.stdin.flush()
            found: Point = pickle.load(process.stdout)  # noqa: S301 - of the process that was started here
        except (EOFError, OSError, pickle.UnpicklingError):
            self._process = None
            return Point(spot.values, spot.label, reason=f"the process that measured it ended ({_end(process)})")
        return found

    def _begin(self) -> subprocess.Popen[bytes]:
        """Start a process and tell it what it must know."""
        paths = os.pathsep.join(dict.fromkeys(path or os.getcwd() for path in sys.path))  # noqa: PTH109 - as text
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(self._threads)}
        command = [sys.executable, "-m", "rankscope.sweeps.worker"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment)  # noqa: S603 - our own module
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # one that ended at once is told of at its first point
            process.stdin.write(self._setup)
            process.stdin.flush()
        self._process = process
        if self._closed:
            process.kill()
        return process

    def close(self) -> None:
        """End the process."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
            _shut(self._process)
            self._process.wait()


def _shut(process: subprocess.Popen[bytes]) -> None:
    """Close both pipes, also where a last question was not read."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _end(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, in words."""
    _shut(process)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    code = process.returncode
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"{name}: the memory may be full, and fewer jobs need less" if name == "SIGKILL" else name


def in_processes(spots: Sequence[Spot], setup: Setup, jobs: int) -> Iterator[Point]:
    """Measure points in several processes.

    Args:
        spots: the points.
        setup: what every process must know.
        jobs: how many processes.

    Yields:
        The points, in the order in which they are done.
    """
    count = min(jobs, len(spots))
    threads = max(1, torch.get_num_threads() // max(count, 1))
    data = packed(replace(setup, threads=threads), spots)
    workers = [_Worker(data, threads) for _ in range(count)]
    free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in workers:
        free.put(worker)

    def one(spot: Spot) -> Point:
        worker = free.get()
        try:
            return worker(spot)
        finally:
            free.put(worker)

    pool = ThreadPoolExecutor(max(count, 1))
    try:
        for done in as_completed([pool.submit(one, spot) for spot in spots]):
            yield done.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.close()
        pool.shutdown(wait=True)
