"""`import rankscope`, `--help` and `--version` answer at once: none of them loads torch, pandas or scipy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "pandas", "scipy", "numpy", "transformers", "jinja2"}


def loaded(*arguments: str) -> set[str]:
    """Top-level names that a fresh interpreter imports while it runs with these arguments."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import rankscope; rankscope.__version__"],
        ["-c", "import rankscope.errors, rankscope.records, rankscope.registry"],
        ["-m", "rankscope", "--help"],
        ["-m", "rankscope", "--version"],
        ["-m", "rankscope", "probe", "--help"],
        ["-m", "rankscope", "inspect", "--help"],
        ["-m", "rankscope", "inspect", "README.md"],
        ["-m", "rankscope", "explain", "effective_rank_unit"],
        ["-m", "rankscope", "explain", "RS301"],
        ["-m", "rankscope", "explain"],
        ["-m", "rankscope", "report", "--help"],
        ["-m", "rankscope", "compare", "--help"],
        ["-m", "rankscope", "zoo"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_loaded(arguments: list[str]) -> None:
    names = loaded(*arguments)
    assert "rankscope" in names
    assert HEAVY & names == set()


def test_what_is_loaded_would_be_seen() -> None:
    assert "scipy" in loaded("-c", "import rankscope, scipy")
    assert "torch" in loaded("-c", "import rankscope; rankscope.probe")
