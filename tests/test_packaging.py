"""Make, the check that CI runs, and the wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ["help", "demo", "install", "fmt", "lint", "types", "test", "test-all", "docs", "check", "bench"]
posix = pytest.mark.skipif(os.name == "nt", reason="the scripts of make are for POSIX shells")


def load_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check", ROOT / ".ci" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@posix
@pytest.mark.parametrize("target", TARGETS)
def test_the_targets_of_make_exist(target: str) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)
    listed = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert re.search(rf"^{target} ", listed, re.MULTILINE)


@posix
def test_ci_runs_make_check() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make check"


def test_check_runs_all_parts_and_fails_where_one_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = load_check()

    def part(code: int, *words: str) -> list[str]:
        return [sys.executable, "-c", f"print('quiet'); print('3 passed'); raise SystemExit({code})", *words]

    monkeypatch.setattr(check, "PARTS", {"install": part(0), "lint": part(3), "tests": part(0, "pytest")})
    assert check.main() == 1
    out = capsys.readouterr().out
    assert out.count("quiet") == 1  # that of the part that failed
    assert out.count("3 passed") == 2  # and the closing line of the tests
    assert re.search(r"^lint +FAILED +\d+\.\d s$", out, re.MULTILINE)
    assert re.search(r"^tests +ok +\d+\.\d s$", out, re.MULTILINE)
    monkeypatch.setattr(check, "PARTS", {"lint": part(0)})
    assert check.main() == 0
    skipping = [sys.executable, "-c", "print('SKIPPED [1] needs the package x, which `make check` installs')"]
    monkeypatch.setattr(check, "PARTS", {"tests": skipping})
    assert check.main() == 1
    monkeypatch.setattr(check, "PARTS", {"install": part(1), "lint": part(0)})
    assert check.main() == 1
    assert "lint" not in capsys.readouterr().out.rpartition("install ...")[2]


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "rankscope", tmp_path / "rankscope", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."]
    subprocess.run([*build, "-w", tmp_path / "out"], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        metadata = next(archive.read(name).decode() for name in packed if name.endswith("METADATA"))
    files = {str(path.relative_to(tmp_path)) for path in (tmp_path / "rankscope").rglob("*") if path.is_file()}
    assert files - packed == set()
    assert "rankscope/py.typed" in packed
    assert any(name.endswith("licenses/LICENSE") for name in packed)
    assert "License-Expression: Apache-2.0" in metadata
