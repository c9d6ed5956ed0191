"""Which meaning a name is given: a path, else an alias, else a demo; and what a mistyped one may have meant."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import hostile
import pytest
import torch
from torch import nn

from rankscope.errors import LoadError, UsageError
from rankscope.records import Source
from rankscope.sources import FORMS, Form, LoadOptions, demo, open_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_live_module() -> None:
    model = hostile.net()
    source = open_model(model)
    assert source == Source(model, "Sequential", "module")
    assert source.model is model


def test_live_torchscript_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(LoadError, match="TorchScript module, whose layers take no hooks"):
        open_model(model)


@pytest.mark.parametrize("spec", [None, 3, "", {"w": 1}, torch.ones(2)])
def test_what_is_no_model_at_all(spec: object) -> None:
    with pytest.raises(UsageError, match="expected a module or its name"):
        open_model(spec)


def test_relative_paths_are_kept_and_absolute_ones_cut(here: Path) -> None:
    (here / "runs").mkdir()
    hostile.torch_file(here / "runs" / "m.pt", hostile.net())
    assert open_model("runs/m.pt").spec == "runs/m.pt"
    assert open_model(here / "runs" / "m.pt").spec == "m.pt"
    assert open_model("./runs/../runs/m.pt").spec == "./runs/../runs/m.pt"


def test_links_are_followed(here: Path) -> None:
    hostile.torch_file(here / "blob", hostile.net())
    (here / "model.pt").symlink_to(here / "blob")
    assert open_model("model.pt").format == "pickled module"
    (here / "gone.pt").symlink_to(here / "nothing")
    with pytest.raises(LoadError, match="a link to a file that does not exist"):
        open_model("gone.pt")


def test_alias(here: Path) -> None:
    hostile.torch_file(here / "m.pt", hostile.net())
    options = LoadOptions(aliases={"prod": "m.pt", "best": "prod", "far": str(here / "m.pt")})
    source = open_model("prod", options)
    assert source.spec == "prod"
    assert [note.code for note in source.notes] == ["RS340"]
    assert source.notes[0].text == "'prod' was taken as the alias that the configuration gives, m.pt"
    assert open_model("best", options).notes[0].text.endswith("gives, prod")
    assert str(here) not in str(open_model("far", options).notes)


def test_aliases_in_a_circle() -> None:
    with pytest.raises(UsageError, match="a -> b -> a"):
        open_model("a", LoadOptions(aliases={"a": "b", "b": "a"}))


def test_a_path_goes_before_an_alias_and_an_alias_before_a_demo(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile.torch_file(here / "m.pt", hostile.net())
    aliases = {"prod": "m.pt", "baseline": "m.pt"}
    assert "alias" in open_model("baseline", LoadOptions(aliases=aliases)).notes[0].text
    hostile.torch_file(here / "prod", nn.Linear(2, 2))
    source = open_model("prod", LoadOptions(aliases=aliases))
    assert isinstance(source.model, nn.Linear)
    assert source.notes[0].text == "'prod' was taken as the torch.save archive of that name in this directory"


def test_a_path_with_a_suffix_needs_no_announcement(here: Path) -> None:
    hostile.torch_file(here / "m.pt", hostile.net())
    assert open_model("m.pt").notes == ()
    assert open_model("m.pt", LoadOptions(aliases={"m.pt": "other.pt"})).notes[0].code == "RS340"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("modle.pt", "did you mean  model.pt"),
        ("basline", "did you mean  baseline"),
        ("prodd", "did you mean  prod"),
        ("runs/modle.pt", "did you mean  runs/model.pt"),
        ("transformer,depth=2", "did you mean  zoo:transformer"),
        ("org/name", "rankscope probe hf:org/name"),
        ("pkg.nets", "rankscope probe pkg.nets:NAME"),
        ("no/such/dir/model.xyz", "Look what is there: ls ."),
        ("x" * 5000, "no such file"),
        ("a\0b", "no such file"),
    ],
)
def test_no_such_file_says_what_was_meant(spec: str, text: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "directory", lambda: here / "demos")
    (here / "demos").mkdir()
    (here / "demos" / "baseline.safetensors").touch()
    (here / "runs").mkdir()
    (here / "model.pt").touch()
    (here / "pkg").mkdir()
    (here / "pkg" / "nets.py").touch()
    (here / "runs" / "model.pt").touch()
    with pytest.raises(LoadError) as caught:
        open_model(spec, LoadOptions(aliases={"prod": "m.pt"}))
    assert caught.value.code == "RS310"
    assert text in str(caught.value)
    assert caught.value.remedies


@pytest.mark.parametrize(
    ("held", "step"),
    [
        ("nets.py", "rankscope probe pkg/nets.py:NAME"),
        ("notes.md", "a model is a file, or a directory with a config.json"),
        ("w.pt", "rankscope probe pkg/w.pt --arch yourmodule:Net"),
    ],
)
def test_a_directory_names_only_what_lies_in_it(held: str, step: str, here: Path) -> None:
    (here / "pkg").mkdir()
    (here / "pkg" / held).touch()
    with pytest.raises(LoadError) as caught:
        open_model("pkg")
    assert [text for _, text in caught.value.remedies] == [step]


def test_a_form_is_one_registration(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FORMS.names()
    monkeypatch.setitem(FORMS._entries, "mine", Form(lambda s, o: Source(nn.Identity(), s, "mine"), prefix="mine:"))
    assert open_model("mine:x").format == "mine"
    with pytest.raises(UsageError, match="--weights goes with a factory"):
        open_model("mine:x", LoadOptions(weights=here / "w.pt"))


def test_options_are_frozen() -> None:
    with pytest.raises(AttributeError):
        LoadOptions().seed = 3
    assert LoadOptions().aliases == {}


def test_what_is_no_model_is_sent_where_it_belongs(here: Path) -> None:
    (here / "a.json").write_text('{\n "schema": "rankscope.report/1"}')
    hostile.torch_file(here / "x.pt", torch.ones(2, 3))
    (here / "train.pt").touch()
    for spec, step in {
        "a.json": "rankscope report a.json",
        "x.pt": "rankscope probe MODEL --input x.pt",
        "train.py:Net": "ls .",
    }.items():
        with pytest.raises(LoadError) as caught:
            open_model(spec)
        assert [text for _, text in caught.value.remedies] == [step]
    with pytest.raises(UsageError) as usage:
        open_model("m.pt", LoadOptions(allow=("mypackage",)))
    assert [text for _, text in usage.value.remedies] == ["--allow 'mypackage.*'"]
