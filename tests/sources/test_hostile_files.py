"""Nothing in any broken or hostile file is run, whatever is given but trust; and each is told in its own words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import hostile
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
