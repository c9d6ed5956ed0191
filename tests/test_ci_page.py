"""The examples of docs/ci.md are what they seem: their keys are those of the action, their commands are run."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

import junitparser
import pytest
import yaml
from ci_doors import ROOT, a_place, yaml_of

from rankscope.cli.check import command

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
GITLAB = yaml.safe_load(yaml_of("ci.md", ".gitlab-ci.yml"))["rankscope"]

posix = pytest.mark.skipif(os.name == "nt", reason="the examples are for a POSIX shell")

MODELS = """
import numpy
import torch

torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
torch.save(model, "model.pt")
for layer in model.layers:  # every token becomes the same vector
    torch.nn.init.zeros_(layer.norm2.weight)
    torch.nn.init.ones_(layer.norm2.bias)
torch.save(model, "flat.pt")
numpy.savez("batch.npz", src=torch.randn(4, 8, 16).numpy())
"""


def test_the_workflow_gives_the_action_what_it_takes() -> None:
    workflow = yaml.safe_load(yaml_of("ci.md", ".github/workflows"))
    (job,) = workflow["jobs"].values()
    assert workflow["permissions"] == {"contents": "read"}
    given = [step["with"] for step in job["steps"] if "rankscope" in step["uses"]]
    assert len(given) == 1
    assert set(given[0]) <= set(ACTION["inputs"])
    rules = [word for rule in given[0]["rules"].splitlines() for word in ("--require", rule)]
    command.make_context("check", ["report.json", *rules, "--max-drop", given[0]["max-drop"]])


def test_the_tables_name_every_input_and_output() -> None:
    section = PAGE.partition("### GitHub")[2].partition("### GitLab")[0]
    named = {
        name for row in re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE) for name in re.findall(r"`([\w-]+)`", row)
    }
    assert named == set(ACTION["inputs"]) | set(ACTION["outputs"])


@posix
def test_the_example_of_gitlab(tmp_path: Path) -> None:
    place = a_place(tmp_path)
    install = [shlex.split(line)[:4] for line in GITLAB["before_script"]]
    assert install == [["python", "-m", "pip", "install"]] * 2
    assert ACTION["inputs"]["torch-index"]["default"] in GITLAB["before_script"][0]
    done = place.run("python", "-c", MODELS)
    assert done.returncode == 0, done.stdout

    def outcome(*lines: str) -> int:
        return place.run("bash", "-eo", "pipefail", "-c", "\n".join(lines)).returncode

    def failures() -> int:
        """How many cases of the JUnit file that GitLab keeps do not hold."""
        assert all((place.repository / name).exists() for name in GITLAB["artifacts"]["paths"])
        suites = junitparser.JUnitXml.fromfile(str(place.repository / GITLAB["artifacts"]["reports"]["junit"]))
        return int(suites.failures + suites.errors)

    measuring, judging = GITLAB["script"]
    assert GITLAB["artifacts"]["when"] == "always"
    assert outcome(measuring, judging) == 2  # there is no baseline yet
    assert outcome("rankscope check report.json --update-baseline") == 0
    place.commit()
    assert (outcome(judging), failures()) == (0, 0)
    (place.repository / "flat.pt").rename(place.repository / "model.pt")
    assert outcome(measuring, judging) == 1
    assert failures() > 0


@posix
def test_the_example_of_pytest(tmp_path: Path) -> None:
    place = a_place(tmp_path)
    (code,) = re.findall(r"^```python\n(# test_collapse.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (place.repository / "test_collapse.py").write_text(code)
    done = place.run("python", "-m", "pytest", "-p", "no:cacheprovider", "-q")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
