"""rankscope: do my representations collapse, where, how fast, and what would stop it?"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rankscope._version import __version__

if TYPE_CHECKING:
    from rankscope.certificate import certify
    from rankscope.comparison import compare
    from rankscope.editing import edit
    from rankscope.errors import CannotMeasure, RankscopeError, UsageError
    from rankscope.explanations import explain
    from rankscope.inspection import inspect
    from rankscope.merging import merge
    from rankscope.pipeline import probe
    from rankscope.records import Report
    from rankscope.requirements import check
    from rankscope.saved import load
    from rankscope.sweeps import sweep
    from rankscope.zoo import list_zoo

_PUBLIC = {
    "CannotMeasure": "rankscope.errors",
    "RankscopeError": "rankscope.errors",
    "Report": "rankscope.records",
    "UsageError": "rankscope.errors",
    "certify": "rankscope.certificate",
    "check": "rankscope.requirements",
    "compare": "rankscope.comparison",
    "edit": "rankscope.editing",
    "explain": "rankscope.explanations",
    "inspect": "rankscope.inspection",
    "list_zoo": "rankscope.zoo",
    "load": "rankscope.saved",
    "merge": "rankscope.merging",
    "probe": "rankscope.pipeline",
    "sweep": "rankscope.sweeps",
}

__all__ = [
    "CannotMeasure",
    "RankscopeError",
    "Report",
    "UsageError",
    "__version__",
    "certify",
    "check",
    "compare",
    "edit",
    "explain",
    "inspect",
    "list_zoo",
    "load",
    "merge",
    "probe",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'rankscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
