from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from rankscope import files
from rankscope.errors import UsageError
from rankscope.files import check_writable, write_whole


def test_text_and_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "é\r\nx\n")
    write_whole(tmp_path / "b", b"\x00\xff")
    assert (tmp_path / "a").read_bytes() == "é\r\nx\n".encode()
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_permissions_are_those_of_a_plain_file_or_of_the_old_one(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    write_whole(tmp_path / "new", "y")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "real")
    write_whole(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "real").read_text() == "x"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), MemoryError])
def test_nothing_is_left_when_the_rename_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | type[BaseException]
) -> None:
    target = tmp_path / "a"
    target.write_text("old")

    def stopped(self: Path, other: Path) -> Path:
        assert self.read_text() == "new"
        raise error

    monkeypatch.setattr(Path, "replace", stopped)
    kind = UsageError if isinstance(error, OSError) else error
    with pytest.raises(kind):
        write_whole(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert target.read_text() == "old"


@pytest.mark.parametrize("act", [check_writable, lambda path: write_whole(path, "x")])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing/a", "there is no folder"),
        (".", "folder|Is a directory"),
        ("file/a", "Not a directory"),
        ("n" * 256, "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, act, name: str, why: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=why) as caught:
        act(tmp_path / name)
    assert caught.value.code == "RS601"
    assert caught.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_without_write_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not bind root, so the system call is made to answer as it would."""

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "open", refused)
    for act in (check_writable, lambda path: write_whole(path, "x")):
        with pytest.raises(UsageError, match=r"a\.json cannot be written: Permission denied"):
            act(tmp_path / "a.json")


def test_a_read_only_file_is_refused_at_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="read-only"):
        check_writable(path)


def test_the_check_leaves_nothing_and_touches_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "a")
    (tmp_path / "b").write_text("old")
    check_writable(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").read_text() == "old"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """What is no plain file is never renamed over. A pipe of the test's own stands for them all: were the rule broken,
    a test run as root would put a file in the place of a real device such as /dev/null.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_writable(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_whole(pipe, "x")
    reader.join(timeout=5)
    assert read == [b"x"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc on this system")
def test_a_folder_that_exists_is_not_proposed_to_be_made() -> None:
    with pytest.raises(UsageError, match="nothing can be made in /proc") as caught:
        check_writable(Path("/proc/x.json"))
    assert "mkdir" not in str(caught.value)
