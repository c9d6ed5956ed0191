"""timm: its models with weights of the local cache, random ones on request, and what to do where it is not there."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rankscope.errors import LoadError, UsageError
from rankscope.inputs import InputOptions, gather
from rankscope.sources import LoadOptions, open_model

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = {"input_size": (3, 12, 8)}


class Vision(nn.Module):
    """Two blocks over the patches of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))
        self.pretrained_cfg = CONFIG

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.patches(images).flatten(2).mT
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


def create_model(name: str, pretrained: bool, pretrained_cfg_overlay: dict[str, Any] | None = None) -> nn.Module:
    model = Vision()
    if pretrained:
        assert pretrained_cfg_overlay is not None
        model.load_state_dict(pretrained_cfg_overlay["state_dict"], strict=True)
    return model


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What rankscope asks of timm, without timm; its caches are empty."""
    config = SimpleNamespace(hf_hub_id="timm/", hf_hub_filename=None, url="https://example.org/tiny-1234.safetensors")
    module = ModuleType("timm")
    vars(module).update(
        is_model=lambda name: name.partition(".")[0] == "tiny",
        list_models=lambda: ["tiny"],
        create_model=create_model,
        get_pretrained_cfg=lambda name: config,
    )
    monkeypatch.setitem(sys.modules, "timm", module)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "cache"), raising=False)
    return SimpleNamespace(module=module, config=config, hub=tmp_path / "hub" / "checkpoints", cache=tmp_path / "cache")


def cached(fake: SimpleNamespace, name: str = "tiny-1234.safetensors") -> dict[str, torch.Tensor]:
    """Weights in the cache of torch.hub."""
    torch.manual_seed(3)
    state = Vision().state_dict()
    fake.hub.mkdir(parents=True)
    save_file(state, fake.hub / name)
    return state


def test_random_weights_are_made_on_request_alone(fake: SimpleNamespace) -> None:
    with pytest.raises(LoadError, match=r"(?s)do not hold its weights.*hf download timm/tiny.*--init-only") as caught:
        open_model("timm:tiny")
    assert caught.value.code == "RS379"
    one, again, other = (open_model("timm:tiny", LoadOptions(init_only=True, seed=seed)) for seed in (0, 0, 1))
    assert [note.code for note in one.notes] == ["RS501"]
    assert one.format == "timm"
    assert not one.model.training
    assert torch.equal(one.model.patches.weight, again.model.patches.weight)
    assert not torch.equal(one.model.patches.weight, other.model.patches.weight)


def test_inputs_are_inferred_of_the_size_that_the_model_was_trained_with(fake: SimpleNamespace) -> None:
    source = open_model("timm:tiny", LoadOptions(init_only=True))
    inputs = gather(source, InputOptions(batch_size=3, seed=5))
    assert inputs.source == "inferred: images=3x3x12x8, seed 5"
    assert [batch.kwargs["images"].shape for batch in inputs.batches] == [(3, 3, 12, 8)]


def test_weights_of_the_cache_of_torch_hub(fake: SimpleNamespace) -> None:
    state = cached(fake)
    source = open_model("timm:tiny.in1k")
    assert torch.equal(source.model.patches.weight, state["patches.weight"])
    assert source.notes[0].text == "26 of 26 tensors checked against the file"
    assert len(source.sha256 or "") == 64


def test_weights_of_the_hub_cache(fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(fake, "elsewhere.safetensors")
    asked = []

    def look(repository: str, file: str) -> str | None:
        asked.append(f"{repository}/{file}")
        return str(fake.hub / "elsewhere.safetensors") if file == "pytorch_model.bin" else None

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", look)
    assert open_model("timm:tiny.in1k").notes[0].code == "RS377"
    assert asked == ["timm/tiny.in1k/model.safetensors", "timm/tiny.in1k/pytorch_model.bin"]


def test_weights_that_timm_left_random_are_an_error(fake: SimpleNamespace) -> None:
    cached(fake)
    fake.module.create_model = lambda name, pretrained, pretrained_cfg_overlay: Vision()
    with pytest.raises(LoadError, match=r"of 26 tensors differ from the file") as caught:
        open_model("timm:tiny")
    assert caught.value.code == "RS344"


def test_a_hostile_file_in_the_cache_is_refused(fake: SimpleNamespace, tmp_path: Path) -> None:
    import hostile

    fake.hub.mkdir(parents=True)
    fake.config.url = "https://example.org/tiny.pth"
    hostile.torch_file(fake.hub / "tiny.pth", hostile.attack(tmp_path))
    with pytest.raises(LoadError, match="asks to import code"):
        open_model("timm:tiny", LoadOptions(trust=True))
    assert not (tmp_path / hostile.CANARY).exists()


def test_a_file_of_weights_is_loaded_strictly(fake: SimpleNamespace, tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = Vision().state_dict()
    save_file(state, tmp_path / "w.safetensors")
    source = open_model("timm:tiny", LoadOptions(weights=tmp_path / "w.safetensors"))
    assert torch.equal(source.model.patches.weight, state["patches.weight"])
    del state["patches.weight"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(LoadError, match="1 missing"):
        open_model("timm:tiny", LoadOptions(weights=tmp_path / "less.safetensors"))


def test_no_weights_exist(fake: SimpleNamespace) -> None:
    fake.module.get_pretrained_cfg = lambda name: None
    with pytest.raises(LoadError, match="timm has no weights for it"):
        open_model("timm:tiny")


def test_an_unknown_name(fake: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match=r"(?s)unknown timm model 'tini'.*did you mean  tiny"):
        open_model("timm:tini")


def test_timm_that_raises(fake: SimpleNamespace) -> None:
    def refuses(*args: Any, **kwargs: Any) -> nn.Module:
        raise AssertionError("img_size\nis odd")

    fake.module.create_model = refuses
    with pytest.raises(LoadError, match="timm says  AssertionError: img_size is odd") as caught:
        open_model("timm:tiny", LoadOptions(init_only=True))
    assert caught.value.code == "RS380"


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(LoadError, match=r"pip install 'rankscope\[timm\]' 'torch==") as caught:
        open_model("timm:tiny")
    assert caught.value.code == "RS378"


def test_a_torchvision_of_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(
        LoadError, match=r"(?s)cannot be imported.*torchvision::nms.*pip install torchvision --index-url"
    ):
        open_model("timm:tiny")


@pytest.mark.models
def test_a_real_model() -> None:
    pytest.importorskip("timm", reason="needs the package timm")
    source = open_model("timm:vit_tiny_patch16_224", LoadOptions(init_only=True))
    assert gather(source, InputOptions(batch_size=2)).source == "inferred: x=2x3x224x224, seed 0"
    assert type(source.model).__name__ == "VisionTransformer"
