"""Once: one contender in a fresh process, timed in turn with the plain forward, and the most memory that it ever held.

Linux lets `ru_maxrss` start at the peak of the process that started this one (it survives exec), so the high-water mark
of the process itself is read, `VmHWM`; elsewhere `ru_maxrss`. The allocator of glibc keeps freed blocks of up to 32 MB
once it has seen them, thread by thread, and a peak is then a matter of chance. Where memory is what is asked, it is
told to give back those over 1 MB; that costs time, so nothing else is run in this way.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import CONTENDERS, SAME, disagreement, numbers, ours
from benchmarks.setting import Job, Setting
from benchmarks.timing import seconds, warm_up

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 900
TIMES, ENOUGH = 3, 40.0
"""A contender is timed so often, but not again once so many seconds went by."""


def peak() -> int:
    """Most bytes of memory this process has held."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)):
        return int(found[1]) * 1024
    import resource  # not on Windows

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def once(name: str, setting: Setting, threads: int, *, giving_back: bool = False) -> dict[str, Any]:
    """Run a contender in a process of its own.

    Args:
        name: of the contender.
        setting: its model and inputs.
        threads: of torch and of the libraries.
        giving_back: whether glibc gives freed memory back at once.

    Returns:
        `plain` and `seconds`, median wall times of the plain forward of all batches (of the first, times their number)
        and of the contender; `times`, how often each was timed; `peak` in bytes, after the first; what the contender
        tells; of the naive hook how far ours is from its numbers. Or `failed`, with the reason.
    """
    given = json.dumps([name, setting.dict(), threads])
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if giving_back:
        env["MALLOC_MMAP_THRESHOLD_"] = str(1 << 20)
    command = [sys.executable, "-m", "benchmarks.once", given]
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {LIMIT} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended by {done.returncode}"])[-1]
        return {"failed": last[:200]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def here(name: str, setting: Setting, threads: int) -> dict[str, Any]:
    """What `once` gives, had in this process."""
    torch.set_num_threads(threads)
    warm_up(["plain", name])
    job = Job(setting)
    first = job.first()
    CONTENDERS["plain"](first)
    plain: list[float] = []
    taken: list[float] = []
    most = 0
    told: list[Any] = []
    start = time.monotonic()
    while not taken or (len(taken) < TIMES and time.monotonic() - start < ENOUGH):
        plain.append(seconds(lambda: CONTENDERS["plain"](first)) * len(job.batches))
        taken.append(seconds(lambda: told.append(CONTENDERS[name](job))))
        most = most or peak()
    found: dict[str, Any] = {
        "plain": statistics.median(plain),
        "seconds": statistics.median(taken),
        "times": len(taken),
        "peak": most,
    }
    if name == "naive":
        found["disagreement"] = disagreement(numbers(ours(*SAME)(job)), told[0])
    elif isinstance(told[0], dict):
        found |= {key: statistics.median_low(each[key] for each in told) for key in told[0]}
    return found


if __name__ == "__main__":
    asked, fields, number = json.loads(sys.argv[1])
    print(json.dumps(here(asked, Setting(**fields), number)))
