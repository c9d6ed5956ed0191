"""Inputs: one source a run, made into batches with their padding found. One file a kind of input.

`gather` reads what the command line says, `from_python` what a caller holds; both give `Inputs`, whose batches can be
iterated again and again. A `Fingerprint` tells whether two runs saw the same.
"""

from __future__ import annotations

from rankscope.inputs.choose import from_python, gather
from rankscope.inputs.fingerprint import Fingerprint
from rankscope.inputs.options import InputOptions

__all__ = ["Fingerprint", "InputOptions", "from_python", "gather"]
