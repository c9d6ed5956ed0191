"""Memory: how much rankscope itself may hold at once, beyond the model and what the model holds."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rankscope.errors import UsageError

UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
UNKNOWN = 4 * 2**30
"""What is taken to be free where the system does not tell."""
LEAST = 256 * 2**20
"""The default is no less, however little is free."""


class Memory:
    """An allowance of memory, and how much of it is held.

    What waits or is worked on for a moment is made as small as the allowance asks for; only what cannot be made
    smaller is refused.

    Args:
        total: bytes.
    """

    def __init__(self, total: int = UNKNOWN) -> None:
        self.total, self.held = total, 0

    def share(self, parts: int, most: int) -> int:
        """Bytes of one of several parts of the allowance.

        Args:
            parts: how many.
            most: no more than this.

        Returns:
            The bytes, at least 1.
        """
        return max(1, min(most, self.total // parts))

    def refusal(self, need: int, what: str) -> str | None:
        """Why something cannot be held.

        Args:
            need: its bytes.
            what: its name.

        Returns:
            The reason, with what would be needed; None where it can be held beside what is held.

        Example:
            >>> Memory(2**30).refusal(2**31, "a sequence of 16384 × 16384")
            'a sequence of 16384 × 16384 needs 2 GiB, and --memory allows 1 GiB'
        """
        if self.held + need <= self.total:
            return None
        beside = f", of which {told(self.held)} are held" if self.held else ""
        return f"{what} needs {told(need)}, and --memory allows {told(self.total)}{beside}"


def size(text: str | int) -> int:
    """Bytes of a size as people write it.

    Args:
        text: a number with a unit: ``2GiB``, ``2G`` (both 2³⁰ each) or ``500MB`` (10⁶ each); a bare number is bytes.

    Returns:
        The bytes.

    Raises:
        UsageError: it is no size, or none that is above zero.

    Example:
        >>> size("2GiB"), size("500MB"), size("1.5 g")
        (2147483648, 500000000, 1610612736)
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*(?:([KMGT]?)(I?B)?)", str(text).strip().upper())
    bytes_ = 0
    if found:
        number, unit, kind = found.groups()
        bytes_ = int(float(number) * (1000 if kind == "B" else 1024) ** UNITS[unit])
    if bytes_ < 1 or isinstance(text, bool):
        raise UsageError(
            "RS123",
            f"--memory {text}: that is no size",
            remedies=[("Write a number and a unit", "--memory 2GiB, or --memory 500MB")],
        )
    return bytes_


def told(count: int) -> str:
    """Bytes as people read them.

    Args:
        count: bytes.

    Returns:
        Two or three digits and a unit.

    Example:
        >>> told(3 * 2**29), told(1000)
        ('1.5 GiB', '1000 B')
    """
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            return f"{count / 2**power:.3g} {unit}"
    return f"{count} B"


def default(free: int | None = None) -> int:
    """The allowance where none is given: half of what is free.

    Args:
        free: of the device, in bytes; None for the memory of the machine, as Linux and other systems tell it.

    Returns:
        Bytes, 256 MiB or more.

    Example:
        >>> default(8 * 2**30) == 4 * 2**30
        True
    """
    return max(LEAST, (_free() if free is None else free) // 2)


def _free() -> int:
    """What programs can still take, as far as the system tells."""
    told_by = []
    try:
        table = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        told_by.append(int(table["MemAvailable"].split()[0]) * 1024)
    except (OSError, ValueError, KeyError):
        told_by.append(_physical())
    try:  # a container's own limit
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        told_by.append(int(limit) - int(used))
    except (OSError, ValueError):
        pass
    return max(0, min(told_by))


def _physical() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return UNKNOWN
