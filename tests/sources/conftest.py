from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def packaged() -> Callable[[str, str], Path]:
    """`packaged(package, pattern)` is a file inside an installed package; the package itself is not imported."""

    def find(package: str, pattern: str) -> Path:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            pytest.skip(f"the package {package} is not installed")
        return next(Path(spec.submodule_search_locations[0]).rglob(pattern))

    return find


@pytest.fixture(autouse=True)
def path_of_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a factory puts directories last on the path; a test takes its own away again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
