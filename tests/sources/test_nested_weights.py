"""Weights inside of a training checkpoint are found where one set alone can be meant; of several none is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hostile
import pytest
import torch
from torch import nn

from rankscope.errors import LoadError
from rankscope.sources import LoadOptions, open_model
from rankscope.sources._weights import strip

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def arch(tmp_path: Path) -> str:
    (tmp_path / "arch.py").write_text(
        "import hostile\nfrom torch import nn\nNet = hostile.net\n"
        "class Deep(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))\n"
    )
    return f"{tmp_path}/arch.py"


def optimizer() -> dict[str, Any]:
    model = hostile.net()
    adam = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    adam.step()
    return adam.state_dict()


def load(folder: Path, arch: str, content: Any, **options: Any) -> Any:
    return open_model(hostile.torch_file(folder / "w.pt", content, **options), LoadOptions(arch=f"{arch}:Net"))


NAMES = ("model", "state_dict", "model_state", "model_state_dict", "net", "module", "params", "ema", "weights")


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "old format"])
@pytest.mark.parametrize("name", [*NAMES, "generator"])
def test_one_set_is_found_and_said(name: str, zipped: bool, tmp_path: Path, arch: str) -> None:
    state = hostile.net().state_dict()
    content = {name: state, "optimizer": optimizer(), "epoch": 3, "rng_state": torch.get_rng_state()}
    source = load(tmp_path, arch, content, _use_new_zipfile_serialization=zipped)
    assert torch.equal(source.model[0].weight, state["0.weight"])
    (note,) = source.notes
    assert note.code == "RS349"
    assert f"under '{name}'" in note.text
    assert "beside it: optimizer, epoch, rng_state" in note.text
    assert str(tmp_path) not in note.text
    other = open_model(f"{arch}:Net", LoadOptions(weights=tmp_path / "w.pt"))
    assert torch.equal(other.model[0].weight, state["0.weight"])
    assert [n.code for n in other.notes] == ["RS349"]


def test_deeper(tmp_path: Path, arch: str) -> None:
    state = hostile.net().state_dict()
    source = load(tmp_path, arch, {"model": {"state_dict": state, "step": 1}, "optimizer": optimizer()})
    assert "under 'model.state_dict'" in source.notes[0].text
    with pytest.raises(LoadError, match="a dict of other"):
        load(tmp_path, arch, {"other": {"thing": {"model": state}}})


def test_several_are_listed_and_none_is_taken(tmp_path: Path, arch: str) -> None:
    content = {
        "model": hostile.net().state_dict(),
        "model_ema": hostile.net().state_dict(),
        "[/x]": {"w": torch.ones(2)},
    }
    with pytest.raises(LoadError) as caught:
        load(tmp_path, arch, content)
    assert caught.value.code == "RS364"
    assert dict(caught.value.details) == {"model": "4 tensors", "model_ema": "4 tensors", "[/x]": "1 tensor"}
    *commands, then = [text for _, text in caught.value.remedies]
    assert then.startswith("rankscope probe weights.pt")
    assert len(commands) == 2, "no command is made of a name that is none of Python's"
    before = torch.load(tmp_path / "w.pt")["model_ema"]
    exec(commands[1].replace("'weights.pt'", repr(str(tmp_path / "weights.pt"))), {"torch": torch})
    source = open_model(tmp_path / "weights.pt", LoadOptions(arch=f"{arch}:Net"))
    assert torch.equal(source.model[0].weight, before["0.weight"])


def test_the_same_weights_under_two_names_are_one(tmp_path: Path, arch: str) -> None:
    state = hostile.net().state_dict()
    assert "under 'model'" in load(tmp_path, arch, {"model": state, "state_dict": state}).notes[0].text


def test_a_module_beside_the_optimizer(tmp_path: Path) -> None:
    model = hostile.net()
    source = open_model(hostile.torch_file(tmp_path / "m.pt", {"model": model, "optimizer": optimizer(), "epoch": 1}))
    assert source.format == "pickled module"
    assert torch.equal(source.model[0].weight, model[0].weight)
    assert "the module under 'model'" in source.notes[0].text


def test_a_whole_module_is_no_weights_file(tmp_path: Path, arch: str) -> None:
    for content in (hostile.net(), {"model": hostile.net()}):
        path = hostile.torch_file(tmp_path / "m.pt", content)
        with pytest.raises(LoadError, match="a whole module") as caught:
            open_model(f"{arch}:Net", LoadOptions(weights=path))
        assert caught.value.code == "RS316"
        assert caught.value.remedies[0][1] == f"rankscope probe {path}"


@pytest.mark.parametrize(
    "content", [{}, {"a": 1}, {"optimizer": {"w": torch.ones(1)}}, [1], 3, None, {1: torch.ones(1)}]
)
def test_nothing_inside(content: Any, tmp_path: Path, arch: str) -> None:
    with pytest.raises(LoadError) as caught:
        load(tmp_path, arch, content)
    assert caught.value.code == "RS316"


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_wrappers_inside_of_names(wrapper: str, tmp_path: Path, arch: str) -> None:
    net = nn.Module()
    net.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    state = net.state_dict()
    inside = {key.replace("layers.0.", f"layers.0.{wrapper}"): value for key, value in state.items()}
    path = hostile.torch_file(tmp_path / "w.pt", inside)
    with pytest.raises(LoadError, match=rf"add --strip-prefix {wrapper}"):
        open_model(path, LoadOptions(arch=f"{arch}:Deep"))
    source = open_model(path, LoadOptions(arch=f"{arch}:Deep", strip_prefix=wrapper))
    assert torch.equal(source.model.layers[0].weight, state["layers.0.weight"])


def test_a_compiled_module_and_compiled_blocks_at_once() -> None:
    state = {"_orig_mod.layers.0._orig_mod.w": 0, "_orig_mod.head": 1}
    assert list(strip(state, "_orig_mod.")) == ["layers.0.w", "head"]


def test_an_attribute_called_module_is_not_a_wrapper_where_names_begin_with_one() -> None:
    assert list(strip({"module.a.module.w": 0, "module.b": 1}, "module.")) == ["a.module.w", "b"]
    assert list(strip({"a.module.w": 0, "submodule.b": 1}, "module.")) == ["a.w", "submodule.b"]


def test_an_architecture_that_is_wrapped_where_the_file_is_not(tmp_path: Path, arch: str) -> None:
    (tmp_path / "wrapped.py").write_text(
        "import hostile\nfrom torch import nn\n"
        "def make():\n"
        "    model, wrapper = hostile.net(), nn.Module()\n"
        "    wrapper._orig_mod, model[0] = model[0], wrapper  # as torch.compile does\n"
        "    return model\n"
    )
    path = hostile.torch_file(tmp_path / "w.pt", hostile.net().state_dict())
    with pytest.raises(LoadError, match="wraps nothing in _orig_mod"):
        open_model(path, LoadOptions(arch=f"{tmp_path}/wrapped.py:make"))


def test_a_directory_for_weights(tmp_path: Path, arch: str) -> None:
    directory = hostile.hf_directory(tmp_path, {"model_type": "bert"})
    with pytest.raises(LoadError, match="it is a directory, not a file of weights"):
        open_model(f"{arch}:Net", LoadOptions(weights=directory))


def test_weights_too_deep_to_be_taken_are_named(tmp_path: Path, arch: str) -> None:
    content = {"train": {"inner": {"best": hostile.net().state_dict()}}, "optimizer": optimizer()}
    with pytest.raises(LoadError) as caught:
        load(tmp_path, arch, content)
    assert caught.value.code == "RS316"
    (label, step), (_, then) = caught.value.remedies
    assert label == "Save train.inner.best alone"
    assert "['train']['inner']['best'], 'weights.pt')" in step
    assert then == "rankscope probe weights.pt --arch yourmodule:Net"
