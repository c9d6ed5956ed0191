"""--trust runs what a file holds, and only it does; a checksum trusts one content; no level falls to the next."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from typing import TYPE_CHECKING, Any

import hostile
import pytest
import torch

from rankscope.config import read
from rankscope.errors import LoadError, UsageError
from rankscope.formats import Kind
from rankscope.sources import LoadOptions, open_model
from rankscope.sources._trust import trusted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRUST = LoadOptions(trust=True)


@pytest.fixture
def arch(tmp_path: Path) -> str:
    (tmp_path / "arch.py").write_text("import hostile\nNet = hostile.net\n")
    return f"{tmp_path}/arch.py:Net"


def with_print(model: torch.nn.Module) -> torch.nn.Module:
    """A module with an attribute that no restricted reader builds."""
    model.__dict__["note"] = print
    return model


def plain(folder: Path, content: Any) -> Path:
    return hostile.raw(folder / "m.pkl", pickle.dumps(content))


def package(folder: Path, content: Any, count: int = 1) -> Path:
    from torch.package import PackageExporter

    with warnings.catch_warnings(), PackageExporter(folder / "m.pt") as exporter:
        warnings.simplefilter("ignore")  # torch remarks on its own storages
        exporter.extern(["torch.**", "collections.**", "builtins"])
        for i in range(count):
            exporter.save_pickle("model", f"model{i or ''}.pkl", content)
    return folder / "m.pt"


FORMS: dict[str, Callable[[Path, Any], Path]] = {
    "archive": lambda f, c: hostile.torch_file(f / "m.pt", c),
    "old format": lambda f, c: hostile.torch_file(f / "m.pt", c, _use_new_zipfile_serialization=False),
    "plain pickle": plain,
    "torch.package": package,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_trusted_module_gives_what_it_gave(form: str, tmp_path: Path) -> None:
    model = with_print(hostile.net())
    path = FORMS[form](tmp_path, model)
    with pytest.raises(LoadError) as caught:
        open_model(path)
    assert caught.value.remedies[-1] == ("Runs any code in the file", f"rankscope probe {path} --trust")
    source = open_model(path, TRUST)
    x = torch.randn(3, 4)
    assert torch.equal(source.model(x), model(x))
    assert [note.code for note in source.notes] == ["RS346"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.notes[0].text.endswith(f"(sha256 {digest})")
    assert str(tmp_path) not in source.notes[0].text
    assert source.sha256 == digest


@pytest.mark.parametrize("form", FORMS)
def test_trusted_weights(form: str, tmp_path: Path, arch: str) -> None:
    state = hostile.net().state_dict()
    path = FORMS[form](tmp_path, {"model": state, "note": print} if form == "archive" else state)
    for source in (
        open_model(path, LoadOptions(trust=True, arch=arch)),
        open_model(arch, LoadOptions(trust=True, weights=path)),
    ):
        assert torch.equal(source.model[0].weight, state["0.weight"])
        assert "RS346" in [note.code for note in source.notes]


def test_a_checksum_trusts_one_content(tmp_path: Path) -> None:
    path = hostile.torch_file(tmp_path / "m.pt", with_print(hostile.net()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert open_model(path, LoadOptions(trust_sha256=digest.upper())).notes[0].code == "RS346"
    hostile.torch_file(path, hostile.attack(tmp_path))
    for trust in (False, True):
        with pytest.raises(LoadError) as caught:
            open_model(path, LoadOptions(trust=trust, trust_sha256=digest))
        assert caught.value.code == "RS347"
        assert not (tmp_path / hostile.CANARY).exists()


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"])
def test_a_checksum_that_is_none(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="64 hexadecimal digits") as caught:
        open_model(hostile.torch_file(tmp_path / "m.pt", hostile.net()), LoadOptions(trust_sha256=text))
    assert caught.value.code == "RS366"


def test_hooks_of_a_trusted_module_stay_and_are_said(tmp_path: Path) -> None:
    path = hostile.hooked(tmp_path)
    source = open_model(path, TRUST)
    assert [note.code for note in source.notes] == ["RS346", "RS365"]
    assert "0 (_forward_hooks)" in source.notes[1].text
    assert len(source.model[0]._forward_hooks) == 1


def test_a_trusted_torchscript_gives_weights_and_no_model(tmp_path: Path, arch: str) -> None:
    path = hostile.scripted(tmp_path)
    for options in (LoadOptions(), TRUST):
        with pytest.raises(LoadError, match="take no hooks") as caught:
            open_model(path, options)
        assert caught.value.code == "RS302"
    with pytest.raises(LoadError) as caught:
        open_model(arch, LoadOptions(weights=path))
    assert caught.value.remedies[-1][1] == f"rankscope probe {arch} --weights {path} --trust"
    source = open_model(arch, LoadOptions(weights=path, trust=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(source.model[0].weight, torch.jit.load(path).state_dict()["0.weight"])


def test_a_scripted_module_inside_a_trusted_pickle(tmp_path: Path) -> None:
    """Python pickles none, so the module comes by a call."""
    inner = hostile.scripted(tmp_path)
    path = plain(tmp_path, hostile.Call(torch.jit.load, (str(inner),)))
    with pytest.raises(LoadError, match="take no hooks"):
        open_model(path, TRUST)


def test_what_a_trusted_file_raises_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plain(tmp_path, hostile.Call(int, ("x\x1b[31m",)))
    with pytest.raises(LoadError) as caught:
        open_model(path, TRUST)
    assert caught.value.code == "RS367"
    assert "ValueError" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    path = hostile.raw(tmp_path / "gone.pkl", b"\x80\x02cnomodule_of_mine\nNet\n)\x81.")
    with pytest.raises(LoadError, match="No module named 'nomodule_of_mine'") as caught:
        open_model(path, TRUST)
    assert "current directory" in str(caught.value.remedies)


def test_a_trusted_pickle_that_exits(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="its own code failed"):
        open_model(plain(tmp_path, hostile.Call(exit, (0,))), TRUST)


def test_prints_of_a_trusted_file_go_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LoadError):
        open_model(plain(tmp_path, hostile.Call(print, ("loud",))), TRUST)
    assert capsys.readouterr() == ("", "loud\n")


def test_several_pickles_in_a_package(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"model/model\.pkl, model/model1\.pkl") as caught:
        open_model(package(tmp_path, hostile.net(), 2), TRUST)
    assert caught.value.code == "RS364"


def test_a_module_needs_no_architecture_and_cannot_be_made_anew(tmp_path: Path) -> None:
    path = plain(tmp_path, hostile.net())
    assert [note.code for note in open_model(path, LoadOptions(trust=True, arch="no:Net")).notes] == ["RS346", "RS345"]
    with pytest.raises(UsageError, match="--init-only needs a factory"):
        open_model(path, LoadOptions(trust=True, init_only=True))


@pytest.mark.parametrize("name", ["hostile archive", "hostile old format", "hostile lightning", "zip bomb"])
def test_one_level_never_falls_to_the_next(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Any] = []
    real = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: (loads.append(k.get("weights_only")), real(*a, **k))[1])
    with pytest.raises(LoadError):
        open_model(hostile.FILES[name](tmp_path), LoadOptions(allow=("posix.*",)))
    assert False not in loads
    assert not (tmp_path / hostile.CANARY).exists()


def test_trust_where_nothing_needs_it_is_said(tmp_path: Path, arch: str) -> None:
    notes = open_model(arch, LoadOptions(trust=True, verify=True)).notes
    assert [note.code for note in notes] == ["RS341", "RS345", "RS345"]
    assert notes[1].text.startswith("--trust was not used")


@pytest.mark.parametrize("line", ["trust = true", "trust-sha256 = 'x'", "allow = ['a.*']", "trust_sha256 = 'x'"])
def test_trust_is_never_read_from_a_file(line: str, tmp_path: Path) -> None:
    (tmp_path / "rankscope.toml").write_text(line)
    with pytest.raises(UsageError) as caught:
        read(tmp_path / "rankscope.toml")
    assert caught.value.code == "RS106"


def test_the_gate_for_a_directory(tmp_path: Path) -> None:
    directory = hostile.dcp(tmp_path)
    with pytest.raises(LoadError) as caught:
        trusted(directory, "dcp", Kind.DCP_DIRECTORY, LoadOptions())
    assert caught.value.remedies[-1] == (
        "Runs any code in the directory",
        "rankscope probe dcp --trust --arch yourmodule:Net",
    )
    digest = hashlib.sha256((directory / ".metadata").read_bytes()).hexdigest()
    assert digest in trusted(directory, "dcp", Kind.DCP_DIRECTORY, LoadOptions(trust_sha256=digest)).text
    assert not (tmp_path / hostile.CANARY).exists(), "the gate itself reads nothing but the bytes"
