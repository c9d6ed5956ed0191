"""Distributed checkpoints: with trust and an architecture, strictly; only tensors are asked for."""

from __future__ import annotations

import os
import pickle
import warnings
from typing import TYPE_CHECKING, Any

import hostile
import pytest
import torch
import torch.distributed.checkpoint as dcp

from rankscope.errors import LoadError
from rankscope.sources import LoadOptions, open_model

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")


def save(content: dict[str, Any], path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(content, checkpoint_id=path, no_dist=True)
    return path


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    return dict(hostile.net().state_dict())


@pytest.fixture
def arch(tmp_path: Path) -> str:
    (tmp_path / "arch.py").write_text("import hostile\nNet = hostile.net\n")
    return f"{tmp_path}/arch.py:Net"


@pytest.fixture
def trust(arch: str) -> LoadOptions:
    return LoadOptions(trust=True, arch=arch)


def test_nothing_is_loaded_without_trust(tmp_path: Path, arch: str) -> None:
    path = hostile.dcp(tmp_path)
    with pytest.raises(LoadError, match="--trust") as caught:
        open_model(path, LoadOptions(arch=arch))
    assert caught.value.code == "RS302"
    assert not (tmp_path / hostile.CANARY).exists()
    assert caught.value.remedies[-1][1].endswith(f"--arch {arch} --trust")
    with pytest.raises(LoadError) as caught:
        open_model(path)
    assert caught.value.remedies[-1][1].endswith("dcp --trust --arch yourmodule:Net")


def test_a_trusted_checksum_covers_what_runs(tmp_path: Path, arch: str) -> None:
    path = save(state(), tmp_path / "dcp")
    with pytest.raises(LoadError, match="not the one that was trusted"):
        open_model(path, LoadOptions(arch=arch, trust_sha256="0" * 64))


def test_the_architecture_must_be_named(tmp_path: Path) -> None:
    path = save(state(), tmp_path / "dcp")
    with pytest.raises(LoadError, match="--trust --arch yourmodule:Net") as caught:
        open_model(path, LoadOptions(trust=True))
    assert caught.value.code == "RS320"


def test_the_weights_come_back(tmp_path: Path, trust: LoadOptions) -> None:
    source = open_model(save(state(), tmp_path / "dcp"), trust)
    assert source.format == "distributed checkpoint"
    assert [note.code for note in source.notes] == ["RS346"]
    assert all(torch.equal(value, state()[key]) for key, value in source.model.state_dict().items())
    assert len(source.sha256 or "") == 64


def test_weights_beside_an_optimizer(tmp_path: Path, trust: LoadOptions) -> None:
    """The optimizer's tensors are not read, and its pickled settings are never unpickled."""
    model = hostile.net()
    model.load_state_dict(state())
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    model.load_state_dict(state())
    content = {"model": model.state_dict(), "optim": optimizer.state_dict(), "step": 3}
    source = open_model(save(content, tmp_path / "dcp"), trust)
    assert "model" in next(note.text for note in source.notes if note.code == "RS349")
    assert all(torch.equal(value, state()[key]) for key, value in source.model.state_dict().items())


def test_only_tensors_are_asked_for(tmp_path: Path, trust: LoadOptions) -> None:
    content = {"model": state(), "extra": hostile.Call(os.mkdir, (str(tmp_path / hostile.CANARY),))}
    path = save(content, tmp_path / "dcp")
    open_model(path, trust)
    assert not (tmp_path / hostile.CANARY).exists()


def test_weights_that_do_not_fit(tmp_path: Path, trust: LoadOptions) -> None:
    kept = {key: value for key, value in state().items() if key != "0.bias"}
    with pytest.raises(LoadError, match=r"1 missing  0\.bias") as caught:
        open_model(save(kept, tmp_path / "dcp"), trust)
    assert caught.value.code == "RS321"


def test_as_weights_of_a_factory(tmp_path: Path, arch: str) -> None:
    path = save(state(), tmp_path / "dcp")
    source = open_model(arch, LoadOptions(weights=path, trust=True))
    assert all(torch.equal(value, state()[key]) for key, value in source.model.state_dict().items())
    with pytest.raises(LoadError, match="--trust"):
        open_model(arch, LoadOptions(weights=path))


@pytest.mark.parametrize("damage", ["part missing", "part cut", "index cut", "index of something else"])
def test_a_damaged_directory_is_told_in_a_line(damage: str, tmp_path: Path, trust: LoadOptions) -> None:
    path = save(state(), tmp_path / "dcp")
    part = next(path.glob("*.distcp"))
    if damage == "part missing":
        part.unlink()
    elif damage == "part cut":
        part.write_bytes(part.read_bytes()[:50])
    elif damage == "index cut":
        (path / ".metadata").write_bytes((path / ".metadata").read_bytes()[:50])
    else:
        (path / ".metadata").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(LoadError) as caught:
        open_model(path, trust)
    assert caught.value.code == "RS376"
    assert dict(caught.value.details)["torch says"]
    assert "\n" not in dict(caught.value.details)["torch says"]


def test_an_index_that_leads_out_is_refused(tmp_path: Path, trust: LoadOptions) -> None:
    path = save(state(), tmp_path / "dcp")
    index = pickle.loads((path / ".metadata").read_bytes())
    for stored in index.storage_data.values():
        stored.relative_path = "../other/__0_0.distcp"
    (path / ".metadata").write_bytes(pickle.dumps(index))
    with pytest.raises(LoadError, match=r"\.\./other/__0_0\.distcp") as caught:
        open_model(path, trust)
    assert caught.value.code == "RS337"
