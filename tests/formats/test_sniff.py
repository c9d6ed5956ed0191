"""Files are told apart by content; the suffix has no say, and no content makes the sniffer raise."""

from __future__ import annotations

from pathlib import Path

import hostile
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from rankscope.errors import LoadError
from rankscope.formats import refuse
from rankscope.formats._refusals import _REFUSALS
from rankscope.sources import Kind, format_of

CONTENT = {
    Kind.TORCH_ZIP: lambda: hostile.saved(hostile.net()),
    Kind.TORCH_LEGACY: lambda: hostile.saved(hostile.net().state_dict(), _use_new_zipfile_serialization=False),
    Kind.SAFETENSORS: lambda: save(hostile.net().state_dict()),
    Kind.LFS_POINTER: lambda: hostile.LFS,
    Kind.TEXT: lambda: "Ψ weights, in words\n".encode() * 60,
    Kind.EMPTY: lambda: b"",
    Kind.UNKNOWN: lambda: bytes(600),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".onnx", ""])
@pytest.mark.parametrize("kind", CONTENT)
def test_the_suffix_has_no_say(kind: Kind, suffix: str, tmp_path: Path) -> None:
    path = hostile.raw(tmp_path / f"model{suffix}", CONTENT[kind]())
    assert format_of(path) is kind


def test_directories(tmp_path: Path) -> None:
    assert format_of(tmp_path) is Kind.DIRECTORY
    (tmp_path / ".metadata").touch()
    assert format_of(tmp_path) is Kind.DCP_DIRECTORY
    (tmp_path / "config.json").touch()
    assert format_of(tmp_path) is Kind.HF_DIRECTORY


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such file"):
        format_of(tmp_path / "none.pt")


def test_every_kind_is_read_by_a_form_or_refused_with_a_way_out() -> None:
    from rankscope.sources import FORMS

    read = {kind for form in FORMS.values() for kind in form.kinds}
    assert read | _REFUSALS.keys() == set(Kind)
    runs_code = {Kind.TORCHSCRIPT, Kind.EXPORTED, Kind.TORCH_PACKAGE, Kind.PICKLE, Kind.DCP_DIRECTORY}
    assert read & _REFUSALS.keys() <= runs_code, "what runs code is refused until it is trusted"
    assert all(refusal.remedies for refusal in _REFUSALS.values())


@pytest.mark.slow
def test_a_real_export_is_known(tmp_path: Path) -> None:
    import torch

    exported = torch.export.export(hostile.net(), (torch.ones(2, 4),))
    torch.export.save(exported, tmp_path / "m.pt2")
    assert format_of(tmp_path / "m.pt2") is Kind.EXPORTED


HEADS = [
    b"",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x80\x02",
    b"\x08\x08\x12",
    (16).to_bytes(8, "little") + b"{",
    b"GGUF",
    b"<html",
]


@given(head=st.sampled_from(HEADS), body=st.binary(max_size=700))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_have_a_kind(head: bytes, body: bytes, tmp_path: Path) -> None:
    assert format_of(hostile.raw(tmp_path / "x", head + body)) in Kind


@given(cut=st.integers(0, 2000), at=st.integers(0, 2000), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_spoiled_archive_has_a_kind(cut: int, at: int, value: int, tmp_path: Path) -> None:
    data = bytearray(hostile.saved(hostile.net()))
    data[at % len(data)] = value
    assert format_of(hostile.raw(tmp_path / "x", bytes(data[: len(data) - cut]))) in Kind


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_never_copied_into_a_file(path: str) -> None:
    with pytest.raises(LoadError) as caught:
        format_of(Path(path))
    assert caught.value.code == "RS311"
    assert "cat" not in str(caught.value.remedies)


@pytest.mark.parametrize(
    ("name", "head", "step"),
    [
        ("m.pt.gz", b"\x1f\x8b", "gunzip < m.pt.gz > m.pt"),
        ("m", b"\x1f\x8b", "gunzip < m > m.unpacked"),
        ("m.tar.gz", b"\x1f\x8b", "tar xf m.tar.gz"),
        ("m.tgz", b"\x1f\x8b", "tar xf m.tgz"),
        ("m.pt.xz", b"\xfd7zXZ\x00", "unxz < m.pt.xz > m.pt"),
        ("m.7z", b"7z\xbc\xaf\x27\x1c", "7z x m.7z"),
        ("m.tar", bytes(257) + b"ustar", "tar xf m.tar"),
    ],
)
def test_what_is_packed_is_unpacked_by_what_packed_it(name: str, head: bytes, step: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(head + bytes(20))
    assert refuse(path, name, format_of(path)).remedies == (("Unpack it", step),)
