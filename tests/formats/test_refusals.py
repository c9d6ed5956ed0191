"""Every broken or hostile file is refused with its code and the way out, and none of them runs anything."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING

import hostile
import pytest
import torch

from rankscope.errors import LoadError, catalogue
from rankscope.sources import LoadOptions, open_model
from rankscope.sources._stock import stock

if TYPE_CHECKING:
    from pathlib import Path


def refused(folder: Path, case: tuple) -> LoadError:
    maker, code, text = case
    path = maker(folder)
    with pytest.raises(LoadError) as caught:
        open_model(path)
    left = {value[0] if isinstance(value, tuple) else value for value in torch.serialization.get_safe_globals()}
    assert not left & set(stock().values()), "the allow-list is widened for the load alone"
    assert caught.value.code == code, str(caught.value)
    assert re.search(text, str(caught.value), re.DOTALL), str(caught.value)
    assert not (folder / hostile.CANARY).exists()
    return caught.value


@pytest.mark.parametrize("name", hostile.CASES)
def test_refused_with_its_code_and_the_way_out(name: str, tmp_path: Path) -> None:
    start = time.perf_counter()
    error = refused(tmp_path, hostile.CASES[name])
    assert time.perf_counter() - start < 10, "a refusal is quick"
    assert error.code in catalogue()
    assert error.exit_code == 3
    assert "\n" not in error.headline
    assert "\x1b" not in str(error)


def test_the_canary_sings_where_a_file_is_run(tmp_path: Path) -> None:
    path = hostile.torch_file(tmp_path / "m.pt", hostile.attack(tmp_path))
    torch.load(path, weights_only=False)
    assert (tmp_path / hostile.CANARY).is_dir()


def test_an_environment_variable_does_not_lower_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    refused(tmp_path, hostile.CASES["hostile archive"])
    (tmp_path / "old").mkdir()
    refused(tmp_path / "old", hostile.CASES["hostile old format"])


@pytest.mark.parametrize("name", hostile.CASES)
def test_refused_as_weights_too(name: str, tmp_path: Path) -> None:
    if name in hostile.SOUND:
        return
    maker, _, _ = hostile.CASES[name]
    path = maker(tmp_path)
    (tmp_path / "arch.py").write_text("import hostile\nNet = hostile.net\n")
    with pytest.raises(LoadError) as caught:
        open_model(f"{tmp_path}/arch.py:Net", LoadOptions(weights=path))
    assert caught.value.code in catalogue()
    assert not (tmp_path / hostile.CANARY).exists()


@pytest.mark.models
@pytest.mark.parametrize("name", hostile.HF_CASES)
def test_hugging_face_directory_refused(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    refused(tmp_path, hostile.HF_CASES[name])


@pytest.mark.parametrize("content", ["module", "state", "legacy", "safetensors"])
def test_no_flipped_byte_escapes_as_another_error(content: str, tmp_path: Path) -> None:
    from safetensors.torch import save

    data = {
        "module": lambda: hostile.saved(hostile.net()),
        "state": lambda: hostile.saved(hostile.net().state_dict()),
        "legacy": lambda: hostile.saved(hostile.net().state_dict(), _use_new_zipfile_serialization=False),
        "safetensors": lambda: save(hostile.net().state_dict()),
    }[content]()
    (tmp_path / "arch.py").write_text("import hostile\nNet = hostile.net\n")
    options = LoadOptions(arch=f"{tmp_path}/arch.py:Net")
    rng = random.Random(0)
    outcomes = set()
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(min(len(broken), 1200))] = rng.randrange(256)
        path = hostile.raw(
            tmp_path / "m.bin", bytes(broken[: rng.randint(1, len(broken))] if rng.random() < 0.2 else broken)
        )
        try:
            open_model(path, options)
            outcomes.add("loaded")
        except LoadError as error:
            outcomes.add(error.code)
    assert len(outcomes) > 2, outcomes


def test_what_the_user_allowed_before_stays_allowed(tmp_path: Path) -> None:
    path = hostile.torch_file(tmp_path / "m.pt", hostile.net())
    allowed = [torch.nn.Linear, (torch.nn.ReLU, "torch.nn.modules.activation.ReLU")]
    with torch.serialization.safe_globals(allowed):
        before = torch.serialization.get_safe_globals()
        open_model(path)
        assert set(torch.serialization.get_safe_globals()) == set(before)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hostile.torch_file(tmp_path / "m.pt", hostile.net())

    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    with pytest.raises(LoadError, match=r"cannot be read \(Permission denied\)"):
        open_model(path)
