"""Moments: the few numbers that measures need of a stack of sequences; no token outlives the call.

`moments` takes them (on a GPU by `stacked`), `solve` has the eigenvalues of what waits; `exact` is the slow twin.
"""

from __future__ import annotations

from rankscope.moments.exact import exact
from rankscope.moments.fast import moments, solve, stacked
from rankscope.moments.found import Moments, Need

__all__ = ["Moments", "Need", "exact", "moments", "solve", "stacked"]
