"""How `make check` comes by a browser, without apt-get being run."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script on a machine of root with apt-get and without a browser."""
    spec = importlib.util.spec_from_file_location("browser", ROOT / ".ci" / "browser.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ABSENT", tmp_path / "no-chromium")
    monkeypatch.setattr(module.shutil, "which", {"apt-get": "/usr/bin/apt-get"}.get)
    monkeypatch.setattr(module.os, "geteuid", lambda: 0, raising=False)
    return module


def apt_that(monkeypatch: pytest.MonkeyPatch, browser: ModuleType, *codes: int) -> list[list[str]]:
    """Let apt-get end with these codes, one after the other; the calls of it."""
    calls: list[list[str]] = []
    left = list(codes)

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, left.pop(0), stdout="Reading\nE: no such package\n")

    monkeypatch.setattr(browser.subprocess, "run", run)
    return calls


def test_nothing_is_done_where_it_is_there(browser: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = apt_that(monkeypatch, browser)
    monkeypatch.setattr(browser.shutil, "which", lambda name: f"/usr/bin/{name}")
    browser.ABSENT.write_text("of an earlier run")
    browser.main()
    assert calls == []
    assert not browser.ABSENT.exists()


def test_root_installs_it(browser: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = apt_that(monkeypatch, browser, 0)
    assert browser.install() is None
    assert calls[0][-2:] == ["chromium", "chromium-driver"]


def test_an_old_list_of_packages_is_renewed_once(browser: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = apt_that(monkeypatch, browser, 100, 0, 0)
    assert browser.install() is None
    assert [call[-1] for call in calls] == ["chromium-driver", "update", "chromium-driver"]


@pytest.mark.parametrize("codes", [(100, 100), (100, 0, 100)])
def test_the_reason_is_left_where_it_cannot_be_had(
    browser: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], codes: tuple[int, ...]
) -> None:
    apt_that(monkeypatch, browser, *codes)
    browser.main()
    assert browser.ABSENT.read_text() == "E: no such package"
    assert "E: no such package" in capsys.readouterr().out


def test_without_root_or_apt_nothing_is_tried(browser: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = apt_that(monkeypatch, browser)
    monkeypatch.setattr(browser.os, "geteuid", lambda: 1000, raising=False)
    browser.main()
    assert browser.ABSENT.read_text().startswith("only root can install them")
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    browser.main()
    assert browser.ABSENT.read_text() == "there is no apt-get to install them"
    assert calls == []


def test_a_skip_that_could_have_been_avoided_fails_the_check() -> None:
    spec = importlib.util.spec_from_file_location("check", ROOT / ".ci" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    start = "SKIPPED [1] tests/renderers/test_html_in_chromium.py:60: no chromium and chromedriver, "
    assert check.MISSING.search(start + "which `make check` installs")
    assert not check.MISSING.search(start + "and none can be had: there is no apt-get to install them")
    assert list(check.PARTS).index("browser") < list(check.PARTS).index("tests")
