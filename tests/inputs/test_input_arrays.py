from __future__ import annotations

import json
import os
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import hostile
import numpy as np
import pytest
import torch
from input_models import Ids, Masked, encoder, mlp, source
from safetensors.torch import save_file
from torch import nn

from rankscope.errors import InputError
from rankscope.inputs import InputOptions, gather
from rankscope.inputs.arrays import read_file

if TYPE_CHECKING:
    from pathlib import Path

X = np.random.default_rng(0).normal(size=(20, 6, 16))


def batches(model: nn.Module, path: Path, **options: object) -> list:
    return list(gather(source(model), InputOptions(input=path, **options)).batches)


def test_npy_is_the_first_argument(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, X)
    found = batches(encoder(batch_first=True), path)
    assert [len(batch.args[0]) for batch in found] == [8, 8, 4]
    assert found[0].args[0].dtype == torch.float32
    assert np.allclose(torch.cat([batch.args[0] for batch in found]), X, atol=1e-6)


def test_npz_names_are_arguments(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    mask = np.ones((20, 6), dtype=np.uint8)
    mask[3, 4:] = 0
    np.savez(path, attention_mask=mask, input_ids=np.ones((20, 6), dtype=np.int32))
    found = batches(Masked(), path)
    assert list(found[0].kwargs) == ["input_ids", "attention_mask"]
    assert found[0].kwargs["input_ids"].dtype == torch.int64
    assert found[0].keep["attention_mask"].sum() == 46
    assert not found[1].keep


def test_padded_and_alone_hold_the_same_real_tokens(tmp_path: Path) -> None:
    ids = np.arange(1, 13)[None]
    np.savez(tmp_path / "alone.npz", input_ids=ids, attention_mask=np.ones_like(ids))
    padded = np.pad(ids, ((0, 0), (0, 116)))
    np.savez(tmp_path / "padded.npz", input_ids=padded, attention_mask=(padded > 0).astype(np.int64))
    (alone,) = batches(Masked(), tmp_path / "alone.npz")
    (long,) = batches(Masked(), tmp_path / "padded.npz")
    assert not alone.keep
    assert long.kwargs["input_ids"].shape == (1, 128)
    assert torch.equal(long.kwargs["input_ids"][long.keep["attention_mask"]], alone.kwargs["input_ids"][0])


def test_an_unnamed_array_of_savez_is_the_first_argument(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X)
    (first, *_) = batches(encoder(batch_first=True), tmp_path / "x.npz")
    assert list(first.kwargs) == ["src"]


def test_safetensors(tmp_path: Path) -> None:
    save_file({"ids": torch.arange(12).reshape(2, 6)}, tmp_path / "x.safetensors")
    (batch,) = batches(Ids(), tmp_path / "x.safetensors")
    assert torch.equal(batch.kwargs["ids"], torch.arange(12).reshape(2, 6))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("saved", "args", "names"),
    [
        (torch.ones(2, 6, dtype=torch.int64), 1, []),
        ((torch.ones(2, 6, dtype=torch.int64),), 1, []),
        ({"input_ids": torch.ones(2, 6, dtype=torch.int64)}, 0, ["input_ids"]),
        (((torch.ones(2, 6, dtype=torch.int64),), {"attention_mask": torch.ones(2, 6)}), 1, ["attention_mask"]),
    ],
)
def test_pt_holds_a_tensor_tuple_dict_or_pair(
    tmp_path: Path, saved: object, args: int, names: list[str], legacy: bool
) -> None:
    torch.save(saved, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
    (batch,) = batches(Masked(), tmp_path / "x.pt")
    assert (len(batch.args), list(batch.kwargs)) == (args, names)


def test_a_list_in_pt_holds_batches(tmp_path: Path) -> None:
    torch.save([torch.ones(3, 6, dtype=torch.int64), torch.ones(2, 9, dtype=torch.int64)], tmp_path / "x.pt")
    assert [tuple(batch.args[0].shape) for batch in batches(Ids(), tmp_path / "x.pt")] == [(3, 6), (2, 9)]


def test_a_parameter_in_pt_is_plain_data(tmp_path: Path) -> None:
    torch.save(nn.Parameter(torch.ones(2, 20)), tmp_path / "x.pt")
    (batch,) = batches(mlp(), tmp_path / "x.pt")
    assert not batch.args[0].requires_grad


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.npy").rename(tmp_path / "x.pt")
    torch.save(torch.ones(2, 20), tmp_path / "y")
    assert read_file(tmp_path / "x.pt").shape == (20, 6, 16)
    assert read_file(tmp_path / "y").shape == (2, 20)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("<f8", torch.float64),
        (">f4", torch.float32),
        ("<f2", torch.float16),
        (">i4", torch.int64),
        ("u1", torch.int64),
        ("?", torch.bool),
        (np.longdouble, torch.float64),
    ],
)
def test_every_kind_of_number(tmp_path: Path, dtype: object, expected: torch.dtype) -> None:
    array = np.asfortranarray(np.array([[1, 0, 2], [3, 1, 0]])).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    found = read_file(tmp_path / "x.npy")
    assert found.dtype == expected
    assert np.array_equal(found.numpy(), array.astype(found.numpy().dtype))


# files that are refused


class Runs:
    def __reduce__(self):
        return (os.system, ("touch ran",))


@pytest.mark.parametrize(
    ("array", "code", "match"),
    [
        (np.array([Runs()], dtype=object), "RS206", "holds Python objects, and reading those could run code"),
        (np.array(["a", "b"]), "RS207", "an array of <U1 cannot be an input"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "RS207", "cannot be an input: expected whole numbers"),
        (np.zeros(2, dtype=[("a", "i4")]), "RS207", "cannot be an input"),
    ],
)
@pytest.mark.parametrize("archive", [False, True])
def test_arrays_that_hold_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: np.ndarray, code: str, match: str, archive: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.npz"
    with path.open("wb") as stream:
        np.savez(stream, x=array) if archive else np.save(stream, array, allow_pickle=True)
    with pytest.raises(InputError, match=match) as caught:
        read_file(path)
    assert caught.value.code == code
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pt"
    torch.save({"x": Runs()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"holds .*from torch.save, and reading those could run code \[RS206\]"):
        read_file(path)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(InputError, match="RS206"):
        read_file(tmp_path / "x.pkl")
    assert not (tmp_path / "ran").exists()


def test_a_saved_module_is_no_input(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"they hold Linear, expected tensors \[RS207\]"):
        read_file(tmp_path / "x.pt")


@pytest.mark.parametrize("maker", [hostile.deep_tuple, hostile.zip_bomb, hostile.codec_bomb, hostile.stride_bomb])
def test_harm_is_refused_as_in_models(maker: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nests tuples|unpacks to|encodes bytes|more than the file holds"):
        read_file(maker(tmp_path))


def test_a_state_dict_is_refused_by_its_names(tmp_path: Path) -> None:
    torch.save(mlp().state_dict(), tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"forward has no parameter '0.weight' \[RS213\]"):
        batches(mlp(), tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("content", "code", "match"),
    [
        (b"", "RS205", "the content is no .npy, .npz, .safetensors or .pt"),
        (b"the quick brown fox", "RS205", "the content is no"),
        (b"<!doctype html>", "RS205", "the content is no"),
        (json.dumps({"a": [1, 2]}).encode(), "RS205", "the content is no"),
        (b"\x93NUMPY\x01\x00", "RS205", "damaged, or cut short"),
        (b"PK\x03\x04 not a zip", "RS205", "damaged, or cut short"),
        (b"\x08\0\0\0\0\0\0\0{}      ", "RS214", "forward needs 'input' too"),
        (b"\x80\x02 not a pickle", "RS206", "could run code"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, code: str, match: str) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=match) as caught:
        batches(mlp(), path)
    assert caught.value.code == code


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "pt"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.97])
def test_files_cut_short(tmp_path: Path, kind: str, part: float) -> None:
    path = tmp_path / f"x.{kind}"
    if kind == "npy":
        np.save(path, X)
    elif kind == "npz":
        np.savez(path, x=X)
    elif kind == "safetensors":
        save_file({"x": torch.tensor(X)}, path)
    else:
        torch.save({"x": torch.tensor(X)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(
        InputError, match=r"x\.\w+ were not read: the file is damaged, or cut short \[RS205\]"
    ) as caught:
        read_file(path)
    assert "ls -l x." in str(caught.value)


@pytest.mark.parametrize("name", ["missing.npz", "."])
def test_no_such_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"were not read: (No such file|Is a directory).* \[RS204\]"):
        read_file(tmp_path / name)


def test_a_zip_of_other_things_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(InputError, match=r"the content is no .* \[RS205\]"):
        read_file(tmp_path / "x.zip")


def test_no_absolute_path_in_the_report(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    inputs = gather(source(encoder(batch_first=True)), InputOptions(input=tmp_path / "x.npy"))
    assert inputs.source == "input: x.npy"
    assert inputs.seed is None
