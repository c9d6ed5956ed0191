"""Moments: the few numbers that measures need of a stack of sequences; no token outlives the call.

`moments` takes them (on a GPU by `stacked`), `solve` has the eigenvalues of what waits; `exact` is the slow twin,
`bytes_of` the memory that it takes.
"""

from __future__ import annotations

from rankscope.moments.exact import exact
from rankscope.moments.fast import moments, solve, stacked
from rankscope.moments.found import OF_GRAMS, Moments, Need, bytes_of

__all__ = ["OF_GRAMS", "Moments", "Need", "bytes_of", "exact", "moments", "solve", "stacked"]
