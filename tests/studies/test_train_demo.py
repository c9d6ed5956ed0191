"""The script that makes the demo checkpoints, run small."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from rankscope import zoo
from rankscope.studies import train_demo
from rankscope.studies.corpus import corpus
from rankscope.studies.trainer import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = "lambda_skip,depth=2,width=16,lam={}"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(train_demo, "MODELS", {"baseline": SMALL.format(1), "lambda-skip": SMALL.format(4)})
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def header(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.mark.usefixtures("small")
def test_it_writes_what_it_says(tmp_path: Path) -> None:
    told: list[str] = []
    train_demo.make(tmp_path, Recipe(steps=3, rate=1e-3), lambda name, loss: told.append(name))
    assert told == ["baseline"] * 3 + ["lambda-skip"] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "baseline.safetensors",
        "lambda-skip.safetensors",
        "sample.txt",
    ]
    assert (tmp_path / "sample.txt").read_text().splitlines() == list(corpus().sample)
    readme = (tmp_path / "README.md").read_text()
    assert not re.search(r"[{}]", readme)
    for name, spec in train_demo.MODELS.items():
        metadata = header(tmp_path / f"{name}.safetensors")
        assert metadata["rankscope.spec"] == spec
        facts = json.loads(metadata["rankscope.provenance"])
        assert (facts["steps"], facts["seed"], facts["lam"]) == (3, 0, float(spec[-1]))
        assert f"| `{name}` | {facts['lam']:g} | {facts['train_loss']:.2f} | {facts['sample_loss']:.2f} |" in readme


@pytest.mark.usefixtures("small")
def test_only_lambda_differs(tmp_path: Path) -> None:
    train_demo.make(tmp_path, Recipe(steps=2, rate=1e-3), lambda name, loss: None)
    first, second = (
        json.loads(header(tmp_path / f"{name}.safetensors")["rankscope.provenance"]) for name in train_demo.MODELS
    )
    differs = {key for key in first if first[key] != second[key]}
    found = {"train_loss", "sample_loss", "verdict", "verdict_layer", *train_demo.MEASURES}
    assert {"lam", "train_loss"} <= differs <= {"lam", *found}


@pytest.mark.usefixtures("small")
def test_the_command_writes_to_a_new_folder_with_progress_on_stderr(tmp_path: Path) -> None:
    result = CliRunner().invoke(train_demo.main, ["--out", str(tmp_path / "new"), "--steps", "2"])
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "baseline loss" in result.stderr
    assert (tmp_path / "new" / "lambda-skip.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [([], "--out"), (["--out", "file"], "is a file"), (["--out", "new", "--steps", "0"], "--steps")],
)
def test_bad_options_are_usage_errors(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    result = CliRunner().invoke(train_demo.main, arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_demo, "make", lambda *_: pytest.fail("trained"))
    (tmp_path / "file").touch()
    for out, says in ((tmp_path / "file" / "in", "file"), (tmp_path, "README.md cannot be written")):
        (tmp_path / "README.md").mkdir(exist_ok=True)
        result = CliRunner().invoke(train_demo.main, ["--out", str(out)])
        assert result.exit_code == 1
        assert says in result.stderr
        assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.slow
def test_as_typed_the_loss_falls(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rankscope.studies.train_demo", "--out", str(tmp_path), "--steps", "40"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout == ""
    for name, spec in train_demo.MODELS.items():
        facts = json.loads(header(tmp_path / f"{name}.safetensors")["rankscope.provenance"])
        untrained = train_demo.judge(zoo.build(spec).eval(), corpus().sample)
        assert facts["sample_loss"] < untrained["sample_loss"] - 1
