"""Weights load strictly; what does not fit is listed, and a prefix is proposed only where it mends everything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hostile
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rankscope.errors import LoadError, UsageError
from rankscope.sources import LoadOptions, open_model
from rankscope.sources._weights import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@pytest.fixture
def arch(tmp_path: Path) -> str:
    (tmp_path / "arch.py").write_text(
        "import torch\nfrom torch import nn\nimport hostile\nNet = hostile.net\n"
        "def example():\n    return hostile.net(), torch.ones(3, 4)\n"
        "def skeleton():\n    with torch.device('meta'):\n        return hostile.net()\n"
        "class Outer(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.body = hostile.net()\n"
    )
    return f"{tmp_path}/arch.py"


def state(prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in hostile.net().state_dict().items()}


def error_of(tmp_path: Path, arch: str, content: Mapping[str, Any], **options: Any) -> str:
    path = hostile.torch_file(tmp_path / "w.pt", content)
    with pytest.raises(LoadError) as caught:
        open_model(path, LoadOptions(arch=f"{arch}:Net", **options))
    return str(caught.value)


@pytest.mark.parametrize("form", ["archive", "legacy", "safetensors"])
def test_state_dict_into_an_architecture(form: str, tmp_path: Path, arch: str) -> None:
    path, content = tmp_path / "w.bin", state()
    if form == "safetensors":
        save_file(content, path)
    else:
        hostile.torch_file(path, content, _use_new_zipfile_serialization=form == "archive")
    source = open_model(path, LoadOptions(arch=f"{arch}:example"))
    assert source.format == ("safetensors" if form == "safetensors" else "state dict")
    assert source.spec == "w.bin"
    assert source.notes == ()
    assert source.example is not None
    assert source.example.args[0].shape == (3, 4)
    for key, value in source.model.state_dict().items():
        assert torch.equal(value, content[key])
    other = open_model(f"{arch}:Net", LoadOptions(weights=str(path) if form == "legacy" else path))
    assert other.sha256 == source.sha256
    assert other.notes == (), "the weights are no longer those of the factory"
    assert all(torch.equal(a, b) for a, b in zip(other.model.parameters(), source.model.parameters(), strict=True))


def test_metadata_of_the_state_dict_reaches_the_modules(tmp_path: Path, arch: str) -> None:
    (tmp_path / "bn.py").write_text("from torch import nn\ndef make(): return nn.BatchNorm1d(3)\n")
    content = nn.BatchNorm1d(3).state_dict()
    del content["num_batches_tracked"]
    path = hostile.torch_file(tmp_path / "w.pt", content)
    with pytest.raises(LoadError, match=r"1 missing  num_batches_tracked"):
        open_model(path, LoadOptions(arch=f"{tmp_path}/bn.py:make"))


def test_without_an_architecture(tmp_path: Path) -> None:
    path = hostile.torch_file(tmp_path / "w.pt", state())
    with pytest.raises(LoadError, match=r"(?s)4 tensors: 0\.weight, 0\.bias.*--arch yourmodule:Net") as caught:
        open_model(path)
    assert caught.value.exit_code == 3
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(LoadError) as caught:
        open_model(path)
    assert caught.value.remedies[0][1] == f"rankscope probe {tmp_path}", "the directory knows its architecture"


def test_one_part_of_several(tmp_path: Path) -> None:
    path = tmp_path / "model-00001-of-00002.safetensors"
    save_file(state(), path)
    with pytest.raises(LoadError, match="one part of several"):
        open_model(path)


def test_missing_unexpected_and_misshapen(tmp_path: Path, arch: str) -> None:
    content = {**state(), "2.weight": torch.zeros(3, 4), "extra": torch.zeros(1)}
    del content["0.bias"]
    text = error_of(tmp_path, arch, content)
    assert "2 of 4 tensors fit" in text
    assert "1 missing  0.bias" in text
    assert "1 unexpected  extra" in text
    assert "1 of another shape  2.weight (expected [2, 4], got [3, 4])" in text
    assert "--strip-prefix" not in text


def test_lists_are_cut_at_five(tmp_path: Path, arch: str) -> None:
    content = {**state(), **{f"extra{i}": torch.zeros(1) for i in range(9)}}
    assert "9 unexpected  extra0, extra1, extra2, extra3, extra4 …" in error_of(tmp_path, arch, content)


def test_names_from_the_file_are_made_safe(tmp_path: Path, arch: str) -> None:
    text = error_of(tmp_path, arch, {**state(), "a\x1b[31m\nb": torch.zeros(1)})
    assert "\x1b" not in text
    assert "a\ufffd[31m\ufffdb" in text


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "net.", "module._orig_mod."])
def test_prefix_is_proposed_and_mends(prefix: str, tmp_path: Path, arch: str) -> None:
    text = error_of(tmp_path, arch, state(prefix))
    assert f"add --strip-prefix {prefix}" in text
    source = open_model(tmp_path / "w.pt", LoadOptions(arch=f"{arch}:Net", strip_prefix=prefix))
    assert torch.equal(source.model[0].weight, torch.load(tmp_path / "w.pt")[f"{prefix}0.weight"])


def test_prefix_is_not_proposed_where_it_would_not_do(tmp_path: Path, arch: str) -> None:
    content = {**state("module."), "module.extra": torch.zeros(1)}
    assert "--strip-prefix" not in error_of(tmp_path, arch, content)
    content = {**state("module."), "module.0.weight": torch.zeros(9, 9)}
    assert "--strip-prefix" not in error_of(tmp_path, arch, content)


def test_weights_of_the_inner_module(tmp_path: Path, arch: str) -> None:
    path = hostile.torch_file(tmp_path / "w.pt", state())
    with pytest.raises(LoadError, match=r"returns model\.body"):
        open_model(path, LoadOptions(arch=f"{arch}:Outer"))


def test_prefix_that_does_not_fit(tmp_path: Path, arch: str) -> None:
    assert "no name starts with it" in error_of(tmp_path, arch, state(), strip_prefix="module.")
    clash = {**state(), "module.0.bias": torch.zeros(4)}
    assert "two names would become one" in error_of(tmp_path, arch, clash, strip_prefix="module.")


def test_quantised_numbers_are_not_cast_in_silence(tmp_path: Path, arch: str) -> None:
    content = {**state(), "0.weight": torch.ones(4, 4, dtype=torch.int8)}
    assert "0.weight (expected torch.float32, got torch.int8)" in error_of(tmp_path, arch, content)


def test_half_precision_is_taken(tmp_path: Path, arch: str) -> None:
    path = hostile.torch_file(tmp_path / "w.pt", {key: value.bfloat16() for key, value in state().items()})
    assert open_model(path, LoadOptions(arch=f"{arch}:Net")).model[0].weight.dtype == torch.float32


def test_skeleton_on_the_meta_device_takes_the_weights(tmp_path: Path, arch: str) -> None:
    path = hostile.torch_file(tmp_path / "w.pt", state())
    source = open_model(path, LoadOptions(arch=f"{arch}:skeleton"))
    assert not any(value.is_meta for value in source.model.state_dict().values())
    with pytest.raises(LoadError, match="4 of its tensors have no numbers"):
        open_model(f"{arch}:skeleton")


def test_tensors_without_numbers_in_the_file(tmp_path: Path, arch: str) -> None:
    content = {key: value.to("meta") for key, value in state().items()}
    path = hostile.torch_file(tmp_path / "w.pt", content)
    with pytest.raises(LoadError):
        open_model(path, LoadOptions(arch=f"{arch}:Net"))


def test_extra_state_is_left_to_the_module() -> None:
    class Counting(nn.Linear):
        seen = None

        def get_extra_state(self) -> Any:
            return {"seen": 3}

        def set_extra_state(self, state: Any) -> None:
            self.seen = state

    model = Counting(2, 2)
    fill(model, model.state_dict(), "w.pt")
    assert model.seen == {"seen": 3}


def test_lazy_modules_take_their_shape_from_the_file() -> None:
    model = nn.LazyLinear(2)
    fill(model, nn.Linear(3, 2).state_dict(), "w.pt")
    assert model.weight.shape == (2, 3)


def test_hostile_metadata_is_told_as_a_misfit(tmp_path: Path, arch: str) -> None:
    content = hostile.net().state_dict()
    content._metadata = 3
    assert re.search(r"torch says  AttributeError|do not fit", error_of(tmp_path, arch, content))


def test_init_only_leaves_the_weights_random_and_says_so(tmp_path: Path, arch: str) -> None:
    path = hostile.torch_file(tmp_path / "w.pt", state())
    source = open_model(path, LoadOptions(arch=f"{arch}:Net", init_only=True))
    assert [note.code for note in source.notes] == ["RS501"]
    assert "random" in source.notes[0].text
    assert str(tmp_path) not in source.notes[0].text
    again = open_model(path, LoadOptions(arch=f"{arch}:Net", init_only=True))
    assert torch.equal(source.model[0].weight, again.model[0].weight)
    other = open_model(path, LoadOptions(arch=f"{arch}:Net", init_only=True, seed=1))
    assert not torch.equal(source.model[0].weight, other.model[0].weight)


def test_options_that_make_no_sense(tmp_path: Path, arch: str) -> None:
    path = hostile.torch_file(tmp_path / "w.pt", state())
    with pytest.raises(UsageError, match="--weights goes with a factory"):
        open_model(path, LoadOptions(weights=path))
    with pytest.raises(UsageError, match="exclude each other"):
        open_model(f"{arch}:Net", LoadOptions(weights=path, init_only=True))
    with pytest.raises(LoadError, match="no such file"):
        open_model(f"{arch}:Net", LoadOptions(weights=Path("none.pt")))


@pytest.mark.models
def test_rxnmapper_state_dict_of_the_old_format(tmp_path: Path, packaged: Callable[[str, str], Path]) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    path = packaged("rxnmapper", "pytorch_model.bin")
    (tmp_path / "albert.py").write_text(
        "import transformers\n"
        f"config = transformers.AutoConfig.from_pretrained({str(path.parent)!r})\n"
        "def make():\n    return transformers.AlbertForMaskedLM(config)\n"
        "def pooled():\n"
        "    model = make()\n"
        "    model.albert = transformers.AlbertModel(config, add_pooling_layer=True)\n"
        "    return model\n"
    )
    with pytest.raises(LoadError, match=r"2 unexpected  albert\.pooler\.weight, albert\.pooler\.bias"):
        open_model(path, LoadOptions(arch=f"{tmp_path}/albert.py:make"))
    source = open_model(path, LoadOptions(arch=f"{tmp_path}/albert.py:pooled"))
    assert source.format == "state dict"
    assert source.model(torch.ones(1, 5, dtype=torch.long)).logits.shape == (1, 5, 591)
