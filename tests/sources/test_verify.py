"""--verify finds a flipped bit that torch reads in silence, and says where a format carries no checksum."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from typing import TYPE_CHECKING

import hostile
import pytest
import torch
from safetensors.torch import save_file

from rankscope.errors import LoadError
from rankscope.sources import LoadOptions, open_model
from rankscope.sources._archive import verify

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def arch(tmp_path: Path) -> str:
    (tmp_path / "arch.py").write_text("import hostile\nNet = hostile.net\n")
    return f"{tmp_path}/arch.py:Net"


def test_a_flipped_bit_loads_without_and_is_found_with_it(tmp_path: Path, arch: str) -> None:
    path = hostile.flipped(tmp_path)
    assert open_model(path, LoadOptions(arch=arch)).notes == ()
    for spec, options in ((path, LoadOptions(arch=arch, verify=True)), (arch, LoadOptions(weights=path, verify=True))):
        with pytest.raises(LoadError, match=r"archive/data/0 does not agree with its checksum") as caught:
            open_model(spec, options)
        assert caught.value.code == "RS360"


def records(data: bytes) -> list[tuple[int, int]]:
    """Where the content of every entry lies: torch fills the headers up, so that tensors begin at round offsets."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    heads = [struct.unpack("<HH", data[e.header_offset + 26 : e.header_offset + 30]) for e in entries]
    return [(e.header_offset + 30 + sum(head), e.file_size) for e, head in zip(entries, heads, strict=True)]


def test_a_flipped_bit_of_any_record_is_found(tmp_path: Path) -> None:
    data = hostile.saved(hostile.net())
    rng = random.Random(0)
    for start, length in records(data):
        broken = bytearray(data)
        broken[start + rng.randrange(length)] ^= 1 << rng.randrange(8)
        with pytest.raises(LoadError) as caught:
            verify(hostile.raw(tmp_path / "m.pt", bytes(broken)), "m.pt")
        assert caught.value.code in {"RS360", "RS313"}, "the pickle is read to tell the kind, and found broken there"


def test_a_sound_archive(tmp_path: Path) -> None:
    path = hostile.torch_file(tmp_path / "m.pt", hostile.net())
    source = open_model(path, LoadOptions(verify=True))
    assert [note.code for note in source.notes] == ["RS348"]
    with zipfile.ZipFile(path) as archive:
        assert f"its {len(archive.namelist())} entries agree" in source.notes[0].text
    assert sorted(tmp_path.iterdir()) == [path], "nothing is unpacked to disk"


def test_formats_without_a_checksum_are_said(tmp_path: Path, arch: str) -> None:
    save_file(hostile.net().state_dict(), tmp_path / "m.safetensors")
    old = hostile.torch_file(tmp_path / "m.bin", hostile.net().state_dict(), _use_new_zipfile_serialization=False)
    for path in (tmp_path / "m.safetensors", old):
        (note,) = open_model(path, LoadOptions(arch=arch, verify=True)).notes
        assert note.code == "RS348"
        assert "no checksum" in note.text
        assert str(tmp_path) not in note.text


def test_a_directory_with_archives_in_it(tmp_path: Path) -> None:
    directory = tmp_path / "hf"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    assert "no checksum" in verify(directory, "hf").text
    hostile.raw(directory / "pytorch_model.bin", hostile.flipped(tmp_path).read_bytes())
    with pytest.raises(LoadError, match="is damaged"):
        verify(directory, "hf")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="unpacks to") as caught:
        verify(hostile.zip_bomb(tmp_path), "m.pt")
    assert caught.value.code == "RS314"


def test_an_archive_whose_headers_do_not_agree(tmp_path: Path) -> None:
    data = bytearray(hostile.saved(hostile.net()))
    data[data.index(b"archive/byteorder")] ^= 1  # in the header of the entry; the directory keeps the name
    with pytest.raises(LoadError, match="byteorder") as caught:
        verify(hostile.raw(tmp_path / "m.pt", bytes(data)), "m.pt")
    assert caught.value.code == "RS360"


def test_numbers_are_the_same_with_it(tmp_path: Path) -> None:
    path = hostile.torch_file(tmp_path / "m.pt", hostile.net())
    a, b = open_model(path).model, open_model(path, LoadOptions(verify=True)).model
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
