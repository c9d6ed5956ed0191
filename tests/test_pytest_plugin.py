"""The plugin of pytest: what it loads, what its assertion says, and that pytest finds it."""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING

import junitparser
import pytest
from ci_doors import ROOT, Place, a_place
from reports import a_hostile_report, a_report, undefined_report

from rankscope.errors import CannotMeasure, UsageError
from rankscope.pytest_plugin import assert_no_collapse
from rankscope.requirements import Baseline, check

if TYPE_CHECKING:
    from pathlib import Path

HEALTHY, COLLAPSED = a_report(depth=3), a_report(depth=12, decay=0.6)


def told(*arguments: object, **options: object) -> str:
    """What the assertion says where it fails."""
    with pytest.raises(AssertionError) as caught:
        assert_no_collapse(*arguments, **options)  # type: ignore[arg-type]
    return str(caught.value)


# the assertion


def test_without_a_limit_the_verdict_counts() -> None:
    assert_no_collapse(HEALTHY)
    text = told(COLLAPSED)
    assert text.splitlines()[0] == "1 of 1 requirement failed"
    assert re.search(r"FAIL +verdict != collapsed +blocks: collapsed from blocks\.\d+ on\n +over depth █", text)


def test_limits_replace_the_verdict() -> None:
    assert_no_collapse(COLLAPSED, max={"mu_bar": 1})
    assert_no_collapse(COLLAPSED, require=["mu_bar >= 0.1 @ first"])
    assert_no_collapse(COLLAPSED, max_drop={"mu_bar": "1%"}, baseline=Baseline.of(COLLAPSED))
    assert "verdict" in told(COLLAPSED, require="verdict != collapsed", max={"mu_bar": 1})


def test_the_worst_and_the_first_layer_are_named() -> None:
    text = told(COLLAPSED, min={"mu_bar": 0.05})
    assert re.search(r"FAIL +mu_bar >= 0\.05 +\d of 13 layers; the worst, blocks\.11: 0\.00\d+ \(0\.0\d+ below\)", text)
    assert re.search(r"first under the limit at blocks\.\d \(0\.0\d+\)", text)


def test_the_evaluator_is_that_of_check() -> None:
    for report in (HEALTHY, COLLAPSED, undefined_report(), a_hostile_report()):
        for rule in ("mu_bar >= 0.05", "min(effective_rank) >= 30", "verdict != collapsed", "mu_1inf >= 0"):
            if check(report, require=[rule]).passed:
                assert_no_collapse(report, require=[rule])
            else:
                assert rule in told(report, require=[rule])


def test_undefined_fails_and_says_why() -> None:
    assert "UNDEFINED" in told(undefined_report(), min={"mu_bar": 0})
    assert "fewer than 4 tokens" in told(undefined_report(), min={"mu_bar": 0})


def test_errors_come_through_as_they_are() -> None:
    with pytest.raises(UsageError, match="RS101"):
        assert_no_collapse(HEALTHY, min={"mu_baar": 1})
    with pytest.raises(UsageError, match="RS122"):
        assert_no_collapse(HEALTHY, baseline=Baseline.of(HEALTHY))
    with pytest.raises(CannotMeasure, match="RS310"):
        assert_no_collapse("none.pt")


def test_hostile_names_are_one_printable_line() -> None:
    text = told(a_hostile_report(), min={"mu_bar": 0.9})
    assert "".join(text.split("\n")).isprintable()


# in pytest

TESTS = """
import torch

from rankscope.pytest_plugin import assert_no_collapse as imported

torch.manual_seed(0)
X = torch.randn(4, 8, 16)

class Mean(torch.nn.Module):
    def forward(self, x):
        return x.mean(1, keepdim=True).expand_as(x)

def healthy():
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

COLLAPSED = torch.nn.Sequential(torch.nn.Linear(16, 16), Mean(), torch.nn.Linear(16, 16))

def test_healthy(assert_no_collapse):
    assert_no_collapse(healthy(), X)

def test_collapsed(assert_no_collapse):
    assert_no_collapse(COLLAPSED, X)

def test_imported():
    imported(healthy(), X, min={"mu_bar": 0.99})

def test_the_probe(rankscope_probe):
    report = rankscope_probe(healthy(), X, measures="mu_bar")
    assert {row.measure for row in report.rows} == {"mu_bar"}

def test_unmeasurable(assert_no_collapse):
    assert_no_collapse(healthy(), torch.randn(4, 8, 17))
"""
LISTING = """
import sys

def pytest_sessionfinish():
    heavy = {"torch", "numpy", "pandas", "scipy", "rich", "jinja2", "click", "safetensors"}
    names = {name for name in sys.modules if name.partition(".")[0] == "rankscope"} | heavy & set(sys.modules)
    print("loaded:", *sorted(names))
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A project where, for all that pytest sees, rankscope is installed as its pyproject.toml says."""
    found = a_place(tmp_path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = tmp_path / "installed" / "rankscope-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: rankscope\nVersion: 0\n")
    (group,) = project["entry-points"]
    points = "".join(f"{name} = {target}\n" for name, target in project["entry-points"][group].items())
    (installed / "entry_points.txt").write_text(f"[{group}]\n{points}")
    found.environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(installed.parent)])
    return found


def test_pytest_finds_it(place: Place) -> None:
    (place.repository / "test_model.py").write_text(TESTS)
    done = place.run("python", "-m", "pytest", "--junit-xml=results.xml", "-p", "no:cacheprovider")
    assert done.returncode == 1, done.stdout
    results = junitparser.JUnitXml.fromfile(str(place.repository / "results.xml"))
    found = {case.name: case.result[0] if case.result else None for suite in results for case in suite}
    assert [name for name, result in found.items() if result is None] == ["test_healthy", "test_the_probe"]
    for name, line in (("test_collapsed", "assert_no_collapse(COLLAPSED, X)"), ("test_imported", "imported(healthy()")):
        text = found[name].text
        assert f">       {line}" not in found[name].message
        assert re.search(rf"^>\s+{re.escape(line)}", text, re.MULTILINE)
        assert "pytest_plugin.py" not in text  # the traceback ends at the line of the test
        assert re.search(r"^E +FAIL +", text, re.MULTILINE)
        assert re.search(r"^E +over depth ", text, re.MULTILINE)
    assert "rankscope.errors.CaptureError" in found["test_unmeasurable"].message


def test_it_loads_nothing_before_it_is_asked(place: Place) -> None:
    (place.repository / "conftest.py").write_text(LISTING)
    (place.repository / "test_nothing.py").write_text("def test_nothing(): pass")
    done = place.run("python", "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    (line,) = re.findall(r"^loaded: (.*)$", done.stdout, re.MULTILINE)
    assert set(line.split()) == {"rankscope", "rankscope._version", "rankscope.pytest_plugin"}


def test_our_own_tests_leave_it_out() -> None:
    """Else what `import rankscope` runs would be missing from the coverage, which starts later."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    (name,) = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"][
        "pytest11"
    ]
    assert f"-p no:{name}" in options["addopts"]
