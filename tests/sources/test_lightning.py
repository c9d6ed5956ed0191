"""Lightning checkpoints give their weights; the prefix of the attribute is proposed, and taken off only when told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hostile
import pytest
import torch

from rankscope.errors import LoadError
from rankscope.formats import Kind, format_of
from rankscope.sources import LoadOptions, open_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def arch(tmp_path: Path) -> str:
    (tmp_path / "arch.py").write_text("import hostile\nNet = hostile.net\n")
    return f"{tmp_path}/arch.py:Net"


def checkpoint(folder: Path, prefix: str = "model.", **more: Any) -> tuple[Path, torch.nn.Module]:
    """What Lightning's trainer writes, with the state of the optimizer beside the weights."""
    model = hostile.net()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": {prefix + key: value for key, value in model.state_dict().items()},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 1e-3, "betas": (0.9, 0.99)},
        **more,
    }
    return hostile.torch_file(folder / "last.ckpt", content), model


def test_it_wants_an_architecture(tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path)
    assert format_of(path) is Kind.LIGHTNING
    with pytest.raises(LoadError, match=r"4 tensors: model\.0\.weight") as caught:
        open_model(path)
    assert caught.value.code == "RS320"


def test_the_prefix_is_proposed_and_mends(tmp_path: Path, arch: str) -> None:
    path, model = checkpoint(tmp_path)
    with pytest.raises(LoadError, match=r"add --strip-prefix model\."):
        open_model(path, LoadOptions(arch=arch))
    source = open_model(path, LoadOptions(arch=arch, strip_prefix="model."))
    assert source.format == "Lightning checkpoint"
    assert source.notes == ()
    assert torch.equal(source.model[0].weight, model[0].weight)
    other = open_model(arch, LoadOptions(weights=path, strip_prefix="model."))
    assert torch.equal(other.model[0].weight, model[0].weight)
    assert other.sha256 == source.sha256


def test_without_a_prefix(tmp_path: Path, arch: str) -> None:
    path, model = checkpoint(tmp_path, prefix="")
    assert torch.equal(open_model(path, LoadOptions(arch=arch)).model[2].bias, model[2].bias)


def test_a_second_net_in_the_module_is_no_guess(tmp_path: Path, arch: str) -> None:
    path, model = checkpoint(tmp_path)
    content = torch.load(path)
    content["state_dict"]["loss.weight"] = torch.ones(2)
    hostile.torch_file(path, content)
    with pytest.raises(LoadError, match=r"5 unexpected") as caught:
        open_model(path, LoadOptions(arch=arch))
    assert "--strip-prefix" not in str(caught.value)
    with pytest.raises(LoadError, match=r"1 unexpected  loss\.weight"):
        open_model(path, LoadOptions(arch=arch, strip_prefix="model."))
    assert model is not None


def test_hyperparameters_that_are_code(tmp_path: Path, arch: str) -> None:
    path, model = checkpoint(tmp_path, hyper_parameters={"opt": torch.optim.Adam, "act": torch.nn.ReLU}, prefix="")
    with pytest.raises(LoadError, match=r"wants  torch\.optim\.adam\.Adam") as caught:
        open_model(path, LoadOptions(arch=arch))
    assert caught.value.code == "RS301"
    assert caught.value.remedies[-1][1] == f"rankscope probe {path} --arch {arch} --trust"
    source = open_model(path, LoadOptions(arch=arch, trust=True))
    assert [note.code for note in source.notes] == ["RS346"]
    assert torch.equal(source.model[0].weight, model[0].weight)


def test_one_without_weights(tmp_path: Path, arch: str) -> None:
    path = hostile.torch_file(tmp_path / "m.ckpt", {"pytorch-lightning_version": "2.6", "state_dict": {}, "epoch": 1})
    with pytest.raises(LoadError, match="a dict of nothing") as caught:
        open_model(path, LoadOptions(arch=arch))
    assert caught.value.code == "RS316"


def test_one_that_only_looks_so(tmp_path: Path, arch: str) -> None:
    content = {"pytorch-lightning_version": "2.6", "model": hostile.net().state_dict()}
    source = open_model(hostile.torch_file(tmp_path / "m.ckpt", content), LoadOptions(arch=arch))
    assert [note.code for note in source.notes] == ["RS349"]
