"""Spectra: singular values of many matrices at once, each with a bound on its error.

`spectrum` takes a stack of matrices; `Pooled` takes the tokens of a whole data set piece by piece.
"""

from __future__ import annotations

from rankscope.spectra.engine import spectrum
from rankscope.spectra.streaming import Pooled

__all__ = ["Pooled", "spectrum"]
