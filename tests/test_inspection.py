from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hostile import CANARY, FILES
from torch import nn

import rankscope
from rankscope.errors import CannotMeasure, LoadError
from rankscope.formats import describe
from rankscope.inspection import Inspection, inspect, inspect_source
from rankscope.records import Batch, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


def encoder(depth: int = 3, norm_first: bool = False) -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


def test_a_live_model_is_told_block_by_block() -> None:
    found = rankscope.inspect(encoder(), torch.zeros(2, 8, 16))
    (stack,) = found.stacks
    assert (stack.stack, stack.types) == ("layers.*", ("TransformerEncoderLayer",))
    assert [block.index for block in stack.blocks] == [1, 2, 3]
    assert [block.adds for block in stack.blocks] == [2, 2, 2]
    assert all(block.values and block.attention for block in stack.blocks)
    assert found.description is None
    assert found.refusal is None
    assert found.model is not None
    assert found.model.parameters == sum(p.numel() for p in encoder().parameters())
    assert found.model.size == 4 * found.model.parameters
    assert found.model.dtypes == ("float32",)


def test_what_cannot_be_seen_has_its_reason() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(3)))
    found = inspect(model, torch.zeros(2, 4, 8))
    for block in found.stacks[0].blocks:
        assert block.values is None
        assert block.attention is None
        assert block.no_values
        assert block.no_attention


def test_an_opened_source_is_looked_at_and_left_as_it_was() -> None:
    model = encoder().train()
    found = inspect_source(Source(model, "net", "module"), Batch((torch.zeros(2, 8, 16),)))
    assert found.model is not None
    assert len(found.stacks[0].blocks) == 3
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_that_cannot_be_run_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(encoder(), path)
    found = inspect(path, torch.zeros(2, 8, 5))
    assert found.description is not None
    assert found.model is not None
    assert found.stacks == ()
    assert found.refusal is not None


def test_no_such_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such file"):
        inspect(tmp_path / "none.pt")
    with pytest.raises(CannotMeasure):
        inspect("no.such.module:factory")


def test_an_alias_leads_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "page.pt").write_text("<html></html>")
    found = inspect("mine", aliases={"mine": str(tmp_path / "page.pt")})
    assert found.description is not None
    assert "HTML" in found.description.kind


def test_weights_alone_need_their_architecture(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(4, 4)\n")
    path = tmp_path / "w.pt"
    torch.save(nn.Linear(4, 4).state_dict(), path)
    shut = inspect(path)
    assert shut.model is None
    opened = inspect(path, torch.zeros(2, 5, 4), arch=f"{tmp_path / 'nets.py'}:net")
    assert opened.refusal is None
    assert opened.model is not None
    assert opened.model.type == "Linear"


def facts(found: Inspection) -> Iterator[str]:
    assert found.description is not None
    yield from (found.description.kind, found.description.loads)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_broken_or_hostile_file_is_described_and_nothing_of_it_runs(tmp_path: Path, name: str) -> None:
    path = FILES[name](tmp_path)
    if not path.is_file() and not path.is_dir():
        with pytest.raises(LoadError, match="a pipe or a device"):
            inspect(path)
        return
    found = inspect(path)
    assert all(facts(found))
    assert found.refusal is not None, "a file of this table must not pass for a sound model"
    assert found.refusal.code.startswith("RS")
    assert found.refusal.text
    assert not (tmp_path / CANARY).exists()
    assert found.to_dict()["description"]["kind"]


LOOK = """
import sys, time
from rankscope.formats import describe
from rankscope.inspection import inspect
for path in sys.argv[1:]:
    started = time.perf_counter()
    found = inspect(path)
    print(path, round(time.perf_counter() - started, 3), "torch" in sys.modules, sep="|")
    if "torch" in sys.modules:
        break
"""


def test_a_file_that_cannot_be_loaded_is_told_at_once_and_without_torch(tmp_path: Path) -> None:
    paths = {}
    for i, name in enumerate(sorted(FILES)):
        folder = tmp_path / str(i)
        folder.mkdir()
        path = FILES[name](folder)
        # What is wrong with a file that seems to load without a flag is seen only by building what it holds.
        if (path.is_file() or path.is_dir()) and describe(path).loads != "without a flag":
            paths[str(path)] = name
    assert len(paths) > 25
    line = [sys.executable, "-c", LOOK, *paths]
    done = subprocess.run(line, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    found = [line.split("|") for line in done.stdout.splitlines()]
    assert [paths[path] for path, _, heavy in found if heavy == "True"] == []
    assert len(found) == len(paths)
    assert max(float(seconds) for _, seconds, _ in found) < 1
