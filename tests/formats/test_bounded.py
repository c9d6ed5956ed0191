"""What a file states is read in bounded time, however it is written."""

from __future__ import annotations

import json
import pickle
import time
from typing import TYPE_CHECKING

import hostile
import hostile_archives
import hostile_pickles
import pytest
import torch

from rankscope.formats import Kind, describe
from rankscope.formats._bounded import count, spelled
from rankscope.formats._zip_directory import directory_size

if TYPE_CHECKING:
    from pathlib import Path

    from rankscope.formats import Description

# A second is enough by far; without bounds each took minutes to days.
SECONDS = 20


def described(path: Path) -> Description:
    start = time.perf_counter()
    found = describe(path)
    assert time.perf_counter() - start < SECONDS
    return found


def test_long_lines_of_a_broken_pickle(tmp_path: Path) -> None:
    found = described(hostile.torch_archive(tmp_path / "m.pt", b"\x80\x02]\xff" + b"c" * 4_000_000))
    assert found.code == "RS313"


def test_a_shape_of_endless_numbers(tmp_path: Path) -> None:
    large = hostile_pickles.whole(2**2000)
    body = hostile_pickles.call("torch._utils._rebuild_tensor_v2", b"N", b"N", b"(" + large * 50_000 + b"t")
    found = described(hostile.torch_archive(tmp_path / "m.pt", hostile_pickles.whole_pickle(body)))
    assert "no tensor has such a shape" in str(found.problem)


@pytest.mark.parametrize("shape", [[9] * 1_000_000, [int("9" * 4000)] * 1000, [-1], [True, "x"], "ab", [1.5]])
def test_a_header_of_endless_numbers(shape: object, tmp_path: Path) -> None:
    header = {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 16]}}
    found = described(hostile.raw(tmp_path / "m.safetensors", hostile.safetensors(header, bytes(16))))
    assert found.code == "RS313"
    assert len(json.dumps(found.facts)) < 2000


def test_numbers_are_counted() -> None:
    assert count((2, 3, 4)) == 24
    assert count(()) == 1
    assert count((5, 0)) == 0
    with pytest.raises(ValueError, match="no tensor"):
        count((2,) * 65)


def test_names_are_found_among_other_bytes() -> None:
    data = b"\xffq\x41" + pickle.dumps([json.loads, pytest.raises], protocol=2) + b"\xff"
    assert {"json.loads", "_pytest.raises.raises"} <= {*spelled(data)}
    assert list(spelled(b"\ncos\n" * 3)) == []
    assert list(spelled(b"c" * 500 + b"\nsystem\n")) != []


def test_an_archive_is_one_for_all_readers(tmp_path: Path) -> None:
    """torch's reader takes the first, which unpacks to a thousand times its size; zipfile the second."""
    last = {"archive/data.pkl": hostile.saved_pickle(), "archive/version": b"3", "archive/data/0": b"0"}
    path = hostile.raw(
        tmp_path / "m.pt", hostile_archives.two_directories({**last, "archive/data/0": bytes(10**6)}, last)
    )
    reader = torch._C.PyTorchFileReader(str(path))
    assert reader.get_record_size("data/0") == 10**6
    assert directory_size(path) is None
    assert describe(path).kind is Kind.DAMAGED_ZIP


def test_a_long_directory_is_found_whatever_the_last_record_says(tmp_path: Path) -> None:
    path = hostile.raw(tmp_path / "m.pt", hostile_archives.many_entries(100_000))
    assert (directory_size(path) or 0) > 5_000_000
    assert describe(path).kind is Kind.HUGE_ZIP


@pytest.mark.parametrize("entries", [1, 70_000])
def test_what_torch_wrote_is_sound(entries: int, tmp_path: Path) -> None:
    """Of more than 65,535 entries the number stands in a second record."""
    path = hostile.torch_file(tmp_path / "m.pt", [torch.zeros(1) for _ in range(entries)])
    assert (directory_size(path) or 0) > 50 * entries
    assert describe(path).kind is Kind.TORCH_ZIP
