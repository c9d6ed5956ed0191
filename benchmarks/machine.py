"""The machine in words that anyone may read: no names of hosts, no paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def machine(threads: int) -> dict[str, Any]:
    """What the numbers were had on.

    Args:
        threads: given to torch.

    Returns:
        Processor, cores, threads, and the versions that matter.
    """
    libraries = {f"{library['internal_api']} {library['version']}" for library in threadpool_info()}
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "libraries": sorted(libraries),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def taken() -> tuple[int, int] | None:
    """Time that the host of a virtual machine gave to others, and all time in which a core was wanted.

    Returns:
        Both in ticks since the machine started; None where the system does not tell.
    """
    listed = Path("/proc/stat")
    if not listed.exists():
        return None
    user, nice, system, _idle, _wait, irq, soft, steal, *_ = map(int, listed.read_text().split("\n", 1)[0].split()[1:])
    return steal, user + nice + system + irq + soft + steal


def share_taken(before: tuple[int, int] | None) -> float | None:
    """How much of the time in which a core was wanted the host gave to others, since then.

    Args:
        before: what `taken` gave then.

    Returns:
        The share; None where the system does not tell.
    """
    now = taken()
    if before is None or now is None or now[1] == before[1]:
        return None
    return round((now[0] - before[0]) / (now[1] - before[1]), 3)


def _cpu() -> str:
    listed = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", listed.read_text(), re.MULTILINE) if listed.exists() else None
    if found:
        return found[1].strip()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or "unknown"
