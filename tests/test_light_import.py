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
        ["-m", "rankscope", "certify", "--help"],
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


LAZY = """
import sys, torch, rankscope
from torch import nn

class Lazy(nn.Module):
    def __init__(self, compiled):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.compiled, self.whole = compiled, None

    def run(self, x):
        for block in self.blocks:
            x = x + torch.relu(block(x))
        return x

    def forward(self, x):
        if not self.compiled:
            return self.run(x)
        self.whole = self.whole or torch.compile(self.run, backend="eager")
        return self.whole(x)

rows = []
for compiled in (False, True):
    torch.manual_seed(0)
    model = Lazy(compiled)
    assert "torch._dynamo" not in sys.modules
    x = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(1))
    report = rankscope.probe(model, x, measures="mu_bar")
    rows.append([(row.layer, row.status, row.value) for row in report.rows])
assert "torch._dynamo" in sys.modules
assert rows[0] == rows[1], rows
"""


def test_the_compiler_is_not_loaded_but_for_a_model_that_compiles_itself() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
