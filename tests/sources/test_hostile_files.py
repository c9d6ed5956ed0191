"""Nothing in any broken or hostile file is run, whatever is given but trust; and each is told in its own words."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import hostile
import hostile_pickles
import pytest

from rankscope.errors import LoadError, UsageError, catalogue
from rankscope.sources import LoadOptions, open_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FLAGS = {
    "none": LoadOptions(),
    "a harmless pattern": LoadOptions(allow=("hostile.Call", "nopackage.*")),
    "patterns of the system": LoadOptions(allow=("posix.*", "os.*", "nt.*", "builtins.*")),
    "verify": LoadOptions(verify=True),
}


@pytest.fixture(autouse=True)
def as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickles name classes of `hostile`, which must be the module that is loaded here."""
    monkeypatch.setitem(sys.modules, "hostile", hostile)


def test_there_are_files_of_every_form() -> None:
    assert len(hostile.FILES) >= 75


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("name", [name for name in hostile.FILES if name not in hostile.HF_CASES])
def test_nothing_is_run(name: str, flags: str, tmp_path: Path) -> None:
    path = hostile.FILES[name](tmp_path)
    with pytest.raises(LoadError) as caught:
        open_model(path, FLAGS[flags])
    assert caught.value.code in catalogue()
    assert all(line.isprintable() for line in str(caught.value).split("\n")), repr(str(caught.value))
    assert caught.value.remedies, str(caught.value)
    assert not (tmp_path / hostile.CANARY).exists()


def test_trust_runs_what_the_file_wants(tmp_path: Path) -> None:
    """So that the canary of the tests above would be seen."""
    for name in ("hostile archive", "hostile old format", "hostile pickle", "torch.package", "hostile lightning"):
        folder = tmp_path / name
        folder.mkdir()
        with pytest.raises(LoadError):
            open_model(hostile.FILES[name](folder), LoadOptions(trust=True))
        assert (folder / hostile.CANARY).is_dir(), name


@pytest.mark.parametrize("maker", [hostile.hooked_user_class, hostile.user_class])
def test_hooks_are_refused_in_allowed_classes_too(maker: Callable[[Path], Path], tmp_path: Path) -> None:
    path = maker(tmp_path)
    options = LoadOptions(allow=("hostile.*",))
    if maker is hostile.user_class:
        assert type(open_model(path, options).model) is hostile.UserNet
        return
    with pytest.raises(LoadError, match=r"carries hooks \(UserNet\._forward_hooks\)"):
        open_model(path, options)


def test_a_flag_that_makes_no_sense_is_told_before_the_file_is_opened(tmp_path: Path) -> None:
    path = hostile.hooked(tmp_path)
    with pytest.raises(UsageError, match="names no package"):
        open_model(path, LoadOptions(allow=("*",)))


PACKAGE = """
import dataclasses, enum, pathlib
from torch import nn
from torch.fx import GraphModule

class Sort(enum.Enum):
    ONE = 1

class Base(enum.Enum):
    pass

@dataclasses.dataclass
class Config:
    width: int = 1
    def size(self):
        return self.width

class Net(nn.Module):
    def __init__(self, path):
        pathlib.Path(path).mkdir()
"""
SORT = hostile_pickles.name("hostilepkg.net.Sort")
OTHERS = {
    "constructor called by two": (hostile_pickles.called_by_two, "makes no tensor"),
    "constructor called by a state": (hostile_pickles.called_by_build, "its state twice"),
    "constructor called by new": (hostile_pickles.made, r"calls hostilepkg\.net\.Net"),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the user's in the current directory, whose program would leave a mark."""
    folder = tmp_path / "hostilepkg"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "net.py").write_text(PACKAGE)
    (folder / "__main__.py").write_text(f"import os\nos.mkdir({str(tmp_path / hostile.CANARY)!r})\nclass Net: pass")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("hostilepkg")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def refused(folder: Path, body: bytes) -> str:
    with pytest.raises(LoadError) as caught:
        open_model(hostile.by_hand(body)(folder), LoadOptions(allow=("hostilepkg.*",)))
    assert not (folder / hostile.CANARY).exists()
    return str(caught.value)


@pytest.mark.parametrize("name", OTHERS)
def test_no_file_calls_an_allowed_class(name: str, package: Path) -> None:
    make, says = OTHERS[name]
    assert re.search(says, refused(package, make("hostilepkg.net.Net", hostile_pickles.text(hostile.CANARY))))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (hostile_pickles.from_type(SORT, SORT, hostile_pickles.items(b"K\x01")), "makes no tensor"),
        (hostile_pickles.call("hostilepkg.net.Base", b"K\x01", b"]"), "makes other enums"),
        (hostile_pickles.blank("hostilepkg.net.GraphModule"), r"a class of torch\.fx"),
        (hostile_pickles.blank("hostilepkg.__main__.Net"), "asks to import code"),
        (
            hostile_pickles.blank("hostilepkg.net.Config")
            + hostile_pickles.mapped(size=hostile_pickles.name("torch.nn.functional.relu"))
            + b"b",
            r"replaces Config\.size",
        ),
    ],
)
def test_allowed_classes_are_filled_with_data_alone(body: bytes, says: str, package: Path) -> None:
    assert re.search(says, refused(package, body))


@pytest.mark.parametrize("aliases", [{"baseline": "evil.py:Net"}, {"baseline": "mine", "mine": "evil.py:Net"}])
def test_a_configuration_gives_no_known_name_to_code(
    aliases: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({hostile.CANARY!r})")
    with pytest.raises(UsageError, match=r"demo:baseline"):
        open_model("baseline", LoadOptions(aliases=aliases))
    assert not (tmp_path / hostile.CANARY).exists()


@pytest.mark.models
@pytest.mark.parametrize("name", ["own code of a part", "backbone of the network", "file for timm"])
def test_a_config_is_neither_asked_about_nor_looked_up(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever would answer the question of transformers, there is none; the network is off in spite of the settings."""
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: pytest.fail("the network was asked"))
    maker, code, says = hostile.HF_CASES[name]
    with pytest.raises(LoadError, match=says) as caught:
        open_model(maker(tmp_path))
    assert caught.value.code == code
    assert not (tmp_path / hostile.CANARY).exists()
