"""Measures: one file, one pure function, one value per sequence.

A module here holds a function under `@measure(...)`. The names of its parameters are what it needs, so that nothing is
captured or solved unless a measure asked for it. `resolve` turns names into requests, `evaluate` computes one with the
bound on its numerical error, `bounds_beside` gives what to compare it with.
"""

from __future__ import annotations

from rankscope.measures._beside import Place, bounds_beside, draw
from rankscope.measures._evaluate import evaluate
from rankscope.measures._forms import center, in_form, norm, unit
from rankscope.measures._registry import MEASURES, Form, Measure, measure
from rankscope.measures._requests import PRESETS, Request, resolve

__all__ = [
    "MEASURES",
    "PRESETS",
    "Form",
    "Measure",
    "Place",
    "Request",
    "bounds_beside",
    "center",
    "draw",
    "evaluate",
    "in_form",
    "measure",
    "norm",
    "resolve",
    "unit",
]
