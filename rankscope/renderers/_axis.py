"""An axis: where a number lies between two others, and round numbers to write beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

_HUGE = 1e300  # larger numbers are drawn at the end of the axis


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of numbers laid along a line, by their logarithm where `log` is set; its ends are kept from overflow.

    `whole` is an axis of things that are counted, such as layers: there is nothing to write between two of them.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = max(getattr(self, name), 1 / _HUGE if self.log else -_HUGE)
            object.__setattr__(self, name, min(value, _HUGE))

    def at(self, value: float) -> float:
        """Where a value lies, 0 at `low` and 1 at `high`; what lies outside is put at the end."""
        if self.high <= self.low:
            return 0.5
        if value <= self.low:
            return 0.0
        if value >= self.high:
            return 1.0
        if self.log:
            start = math.log(self.low)
            return (math.log(value) - start) / (math.log(self.high) - start)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[float]:
        """Round numbers inside the range, at most about `most` of them."""
        if self.log and self.high / self.low >= 10:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            stride = max(1, math.ceil((last - first + 1) / most))
            return [10.0**power for power in range(first, last + 1) if (last - power) % stride == 0]
        raw = (self.high - self.low) / most or 1.0
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
        step = max(step, 1.0) if self.whole else step
        return [i * step for i in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]
