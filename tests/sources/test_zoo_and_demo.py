"""zoo: architectures are random and say so; demo checkpoints carry their architecture in the header."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rankscope import zoo
from rankscope.errors import LoadError, UsageError
from rankscope.sources import LoadOptions, demo, open_model
from rankscope.sources.safetensors import SPEC_KEY

SPEC = "transformer,depth=2,width=16"


@pytest.fixture
def demos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two demo checkpoints made now, in place of the trained ones."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "demos"
    directory.mkdir()
    for name, seed in (("baseline", 1), ("lambda-skip", 2)):
        metadata = {SPEC_KEY: f"zoo:{SPEC}"}
        save_file(dict(zoo.build(SPEC, seed=seed).state_dict()), directory / f"{name}.safetensors", metadata)
    monkeypatch.setattr(demo, "directory", lambda: directory)
    return directory


def test_zoo_is_random_and_says_so() -> None:
    source = open_model(f"zoo:{SPEC}")
    assert source.spec == f"zoo:{SPEC}"
    assert source.format == "zoo"
    assert source.sha256 is None
    assert [note.code for note in source.notes] == ["RS501"]
    assert "seed 0" in source.notes[0].text
    assert torch.equal(parameters(source.model), parameters(open_model(f"zoo:{SPEC}").model))
    other = open_model(f"zoo:{SPEC}", LoadOptions(seed=3))
    assert "seed 3" in other.notes[0].text
    assert not torch.equal(parameters(source.model), parameters(other.model))
    assert "seed 3" in open_model(f"zoo:{SPEC},seed=3").notes[0].text


def parameters(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def test_zoo_leaves_the_users_random_numbers() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    open_model(f"zoo:{SPEC}")
    assert torch.equal(torch.rand(3), expected)


def test_unknown_architecture() -> None:
    with pytest.raises(UsageError, match="unknown architecture 'tranformer'") as caught:
        open_model("zoo:tranformer")
    assert "transformer" in str(caught.value)


def test_weights_into_the_zoo(tmp_path: Path) -> None:
    model = zoo.build(SPEC, seed=5)
    path = tmp_path / "w.safetensors"
    save_file(dict(model.state_dict()), path)
    source = open_model(f"zoo:{SPEC}", LoadOptions(weights=path))
    assert torch.equal(parameters(source.model), parameters(model))
    assert source.notes == ()
    assert source.sha256
    through_arch = open_model(path, LoadOptions(arch=f"zoo:{SPEC}"))
    assert torch.equal(parameters(through_arch.model), parameters(model))


@pytest.mark.parametrize("prefix", ["zoo:", ""])
def test_the_header_names_the_architecture(prefix: str, tmp_path: Path) -> None:
    model = zoo.build(SPEC, seed=5)
    path = tmp_path / "w.safetensors"
    save_file(dict(model.state_dict()), path, {SPEC_KEY: prefix + SPEC})
    source = open_model(path)
    assert torch.equal(parameters(source.model), parameters(model))
    assert source.notes == ()
    with pytest.raises(UsageError, match="unknown architecture 'none'"):
        open_model(path, LoadOptions(arch="zoo:none"))


def test_a_header_that_does_not_fit_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(dict(zoo.build(SPEC).state_dict()), path, {SPEC_KEY: "zoo:transformer,depth=3,width=16"})
    with pytest.raises(LoadError, match="do not fit the architecture"):
        open_model(path)


@pytest.mark.parametrize("spec", ["baseline", "demo:baseline"])
def test_demo_by_name(spec: str, demos: Path) -> None:
    source = open_model(spec)
    assert source.spec == spec
    assert source.format == "demo"
    assert source.directory == demos
    assert torch.equal(parameters(source.model), parameters(zoo.build(SPEC, seed=1)))
    announced = [note.text for note in source.notes if note.code == "RS340"]
    assert announced == (
        ["'baseline' was taken as the demo checkpoint that comes with rankscope"] if spec == "baseline" else []
    )


def test_demo_takes_no_arch_of_other_files(demos: Path) -> None:
    assert open_model("baseline", LoadOptions(arch="no.such:Net", strip_prefix="module.")).format == "demo"


def test_demo_is_forced_where_a_path_has_its_name(demos: Path) -> None:
    Path("baseline").mkdir()
    assert open_model("demo:baseline").format == "demo"
    with pytest.raises(LoadError, match="without config"):
        open_model("baseline")


def test_unknown_demo(demos: Path) -> None:
    with pytest.raises(UsageError, match="unknown demo checkpoint 'basline'") as caught:
        open_model("demo:basline")
    assert "did you mean  baseline" in str(caught.value)


def test_init_only_of_a_demo(demos: Path) -> None:
    source = open_model("demo:baseline", LoadOptions(init_only=True))
    assert [note.code for note in source.notes] == ["RS501"]
    assert torch.equal(parameters(source.model), parameters(zoo.build(SPEC, seed=0)))


@pytest.mark.parametrize("name", ["baseline", "lambda-skip"])
def test_the_shipped_checkpoints(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = open_model(name)
    assert source.format == "demo"
    assert source.spec == name
    assert (source.directory / "sample.txt").is_file()
    assert all(torch.isfinite(value).all() for value in source.model.state_dict().values() if value.is_floating_point())
