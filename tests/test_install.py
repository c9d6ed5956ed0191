"""Installing: which Python, which torch, what pip is told, and what an interrupted install leaves."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
posix = pytest.mark.skipif(os.name == "nt", reason="the scripts of make are for POSIX shells")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The installer, with a .venv of its own that does not exist yet."""
    module = load()
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    for name in ("TORCH", "PYTHON"):
        monkeypatch.delenv(name, raising=False)
    return module


def program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


# -- which Python ------------------------------------------------------------------------------------------------------


def find_python(tmp_path: Path, pythons: dict[str, str], **env: str) -> subprocess.CompletedProcess[str]:
    """Run the finder in a folder of its own, where a Python prints its minor version, pip or nopip, and version."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "find-python", tmp_path / ".ci")
    for name, answer in pythons.items():
        where = tmp_path / name if "/" in name else tmp_path / "bin" / name
        program(where, "exit 127" if answer == "broken" else f"echo '{answer}'")
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin" / "dirname").symlink_to(str(shutil.which("dirname")))
    environment = {"PATH": str(tmp_path / "bin"), **env}
    return subprocess.run(
        ["/bin/sh", tmp_path / ".ci" / "find-python"], env=environment, capture_output=True, text=True, check=False
    )


@posix
@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": "11 pip 3.11.7", "python3.13": "13 pip 3.13.0"}, "python3"),
        ({"python3": "broken", "python3.12": "12 pip 3.12.1"}, "python3.12"),
        ({"python3": "9 pip 3.9.2", "python3.11": "11 pip 3.11.2"}, "python3.11"),
        ({"python3": "11 nopip 3.11.2", "python3.12": "12 pip 3.12.1"}, "python3.12"),
        ({"python3": "15 pip 3.15.0", "python3.14": "14 pip 3.14.1"}, "python3.14"),
        ({"python3": "0 nopip 2.7.18", "python": "12 pip 3.12.1"}, "python"),
    ],
)
def test_a_python_that_works_is_found(tmp_path: Path, pythons: dict[str, str], chosen: str) -> None:
    done = find_python(tmp_path, pythons)
    assert done.stdout == f"{tmp_path}/bin/{chosen}\n"
    assert done.stderr == ""


@posix
def test_a_newer_python_is_taken_last_and_said(tmp_path: Path) -> None:
    done = find_python(tmp_path, {"python3": "15 pip 3.15.0"})
    assert done.stdout == f"{tmp_path}/bin/python3\n"
    assert "newer than the versions that constraints.txt was tested with" in done.stderr


@posix
def test_a_python_without_venv_names_the_package(tmp_path: Path) -> None:
    done = find_python(tmp_path, {"python3": "11 nopip 3.11.2"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot make a virtual environment" in done.stderr
    assert "apt install python3-venv    (or python3.11-venv)" in done.stderr


@posix
def test_no_python_says_what_was_found(tmp_path: Path) -> None:
    done = find_python(tmp_path, {"python3": "9 pip 3.9.2", "python3.12": "broken"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs Python 3.11 or newer; found python3 (3.9.2), python3.12 (does not run)" in done.stderr


@posix
def test_no_python_at_all(tmp_path: Path) -> None:
    assert "found none" in find_python(tmp_path, {}).stderr


@posix
def test_python_can_be_given(tmp_path: Path) -> None:
    done = find_python(tmp_path, {"python3": "11 pip 3.11.7"}, PYTHON=sys.executable)
    assert done.stdout == f"{sys.executable}\n"


@posix
def test_a_given_python_that_is_too_old_is_refused(tmp_path: Path) -> None:
    done = find_python(tmp_path, {"python3": "12 pip 3.12.1", "python3.9": "9 pip 3.9.2"}, PYTHON="python3.9")
    assert done.returncode == 1
    assert "not PYTHON=python3.9; found python3.9 (3.9.2)" in done.stderr


@posix
@pytest.mark.parametrize(
    ("whole", "torch", "chosen"),
    [(True, "", ".venv/bin/python"), (False, "", "bin/python3"), (True, "system", "bin/python3")],
    ids=["the one of .venv", "not that of a half-deleted .venv", "not where torch has to come from outside"],
)
def test_the_python_of_venv_comes_first(tmp_path: Path, whole: bool, torch: str, chosen: str) -> None:
    pythons = {".venv/bin/python": "12 pip 3.12.1", "python3": "11 pip 3.11.7"}
    (tmp_path / ".venv").mkdir()
    if whole:
        (tmp_path / ".venv" / "pyvenv.cfg").touch()
    assert find_python(tmp_path, pythons, TORCH=torch).stdout.strip().endswith(chosen)


# -- which torch -------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    ("body", "answers", "note"),
    [
        ("echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'", True, ""),
        ("echo 'driver/library version mismatch' >&2; exit 18", False, "driver/library version mismatch"),
        ("exit 0", False, "no output"),
        ("exec sleep 30", False, "did not answer within 0.5 s"),
    ],
    ids=["works", "mismatch", "lists none", "hangs"],
)
def test_a_broken_driver_is_a_note(
    install: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    body: str,
    answers: bool,
    note: str,
) -> None:
    program(tmp_path / "nvidia-smi", body)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    start = time.monotonic()
    assert install.driver_answers(timeout=0.5 if "sleep" in body else 10) is answers
    assert time.monotonic() - start < 5
    said = capsys.readouterr().err
    assert (note in said and said.startswith("note:")) if note else said == ""


def test_no_driver_is_no_note(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert not install.driver_answers()
    assert capsys.readouterr().err == ""


def test_an_index_that_answers(install: ModuleType) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign]
        thread.start()
        assert install.reachable(f"http://127.0.0.1:{server.server_port}/")
        assert not install.reachable(f"http://127.0.0.1:{server.server_port}/missing/")
        server.shutdown()
        thread.join()


def test_an_index_that_never_answers_is_given_up_soon(install: ModuleType) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        assert not install.reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.3)
        assert time.monotonic() - start < 10
        port = silent.getsockname()[1]
    assert not install.reachable(f"http://127.0.0.1:{port}/")


def fake_torch(folder: Path, version: str) -> str:
    (folder / "site-packages" / "torch").mkdir(parents=True)
    (folder / "site-packages" / "torch" / "__init__.py").write_text(f"__version__ = {version!r}")
    return str(folder / "site-packages")


@pytest.mark.parametrize("version", ["2.9.1+cu128", "1.13.0"])
def test_a_system_torch_that_is_too_old_is_refused(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", fake_torch(tmp_path, version))
    with pytest.raises(SystemExit, match=rf"has torch {re.escape(version)}; 2\.10 or newer is needed"):
        install.system_torch()


def test_a_system_without_torch_is_refused(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit, match="cannot import torch"):
        install.system_torch()


def test_the_torch_of_venv_is_not_the_systems(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "VENV", Path(sys.prefix))
    with pytest.raises(SystemExit, match="deactivate"):
        install.system_torch()


@posix
def test_a_system_torch_is_linked_and_held(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = fake_torch(tmp_path / "with 'quotes'", "2.12.0a0+nv26")
    monkeypatch.setenv("PYTHONPATH", folder)
    version, folders = install.system_torch()
    assert (version, folders[0]) == ("2.12.0a0+nv26", folder)
    monkeypatch.delenv("PYTHONPATH")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", install.VENV], check=True)
    (install.VENV / "constraints.txt").write_text("numpy==2.0\ntorch==2.13.0\n")
    install.link_torch(version, folders)
    assert install.ask(install.python(), "import torch; print(torch.__file__)").startswith(folder)
    assert (install.VENV / "constraints.txt").read_text() == "numpy==2.0\ntorch==2.12.0a0+nv26\n"


# -- what pip is told --------------------------------------------------------------------------------------------------


@pytest.fixture
def pip(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of every call of pip; what `failing` names in one of them makes it fail."""
    calls: list[list[str]] = []

    def run(command: list[Any], **options: Any) -> SimpleNamespace:
        assert options["env"]["PIP_REQUIRE_VIRTUALENV"] == "1"
        calls.append([str(part) for part in command])
        return SimpleNamespace(returncode=0, stdout="")

    install.VENV.mkdir()
    monkeypatch.setattr(install.subprocess, "run", run)
    monkeypatch.setattr(install, "ask", lambda *_: None)
    monkeypatch.setattr(install, "reachable", lambda _: False)
    monkeypatch.setattr(install.sys, "platform", "linux")
    return calls


def test_every_call_of_pip_is_held_by_the_constraints(install: ModuleType, pip: list[list[str]]) -> None:
    install.install("check", "cpu", None)
    start = [str(install.python()), "-m", "pip", "install", "-c", str(install.VENV / "constraints.txt")]
    assert all(call[: len(start)] == start for call in pip)
    torch, needs, project, models = (call[len(start) :] for call in pip)
    assert torch == ["torch"]
    assert "torch" in needs
    assert project == ["--no-deps", "--no-build-isolation", "-e", "."]
    assert models[0] == "--no-deps"
    assert {"sapiens", "rxnmapper"} <= set(models)
    assert "torch" not in models
    assert (install.VENV / "constraints.txt").read_text() == (ROOT / "constraints.txt").read_text()


def test_the_peers_of_the_benchmark_come_without_their_dependencies(install: ModuleType, pip: list[list[str]]) -> None:
    install.install("bench", "cpu", None)
    assert "--no-deps" in pip[-1]
    assert {"delve", "torchlens", "weightwatcher"} <= set(pip[-1])
    assert not any(argument.startswith("pytest") for call in pip for argument in call)


def test_the_cpu_build_comes_from_its_index(
    install: ModuleType, pip: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "reachable", lambda _: True)
    install.install("base", "cpu", None)
    assert [install.CPU_INDEX in call for call in pip] == [True, False, False]
    assert "--no-deps" in pip[0]


def test_the_cpu_index_failing_falls_back(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, ...]] = []

    def pip(*arguments: str) -> str | None:
        calls.append(arguments)
        return "no such host" if "--index-url" in arguments else None

    install.VENV.mkdir()
    (install.VENV / "constraints.txt").touch()
    monkeypatch.setattr(install, "pip", pip)
    monkeypatch.setattr(install, "ask", lambda *_: None)
    monkeypatch.setattr(install, "reachable", lambda _: True)
    monkeypatch.setattr(install.sys, "platform", "linux")
    install.install_torch("cpu")
    assert calls[-1] == ("torch",)
    assert len(calls) == 2
    assert "taking torch from the default index" in capsys.readouterr().err


def test_a_torch_that_is_there_is_left(
    install: ModuleType, pip: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = re.search(r"(?m)^torch==(.*)$", (ROOT / "constraints.txt").read_text())
    assert pinned is not None
    (install.VENV / "constraints.txt").write_text((ROOT / "constraints.txt").read_text())
    monkeypatch.setattr(install, "ask", lambda *_: pinned[1])
    install.install_torch("cpu")
    assert pip == []


def test_a_linked_torch_is_never_asked_of_pip(
    install: ModuleType, pip: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(install, "ask", lambda *_: str(tmp_path))
    install.install("test", "system", ("2.12.0", ["/opt/site-packages"]))
    assert pip
    assert not any(re.match(r"torch(?![\w-])", part) for call in pip for part in call)


def test_a_failing_pip_shows_the_end_of_its_output(install: ModuleType) -> None:
    install.VENV.mkdir()
    (install.VENV / "installing").touch()
    with pytest.raises(SystemExit, match="No matching distribution"):
        install.must("Collecting torch\nERROR: No matching distribution found for torch")
    assert not (install.VENV / "installing").exists()  # pip ended by itself: nothing is half-written


def test_the_constraints_pin_all_that_the_project_asks_for() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [
        *PROJECT["build-system"]["requires"],
        *PROJECT["project"]["dependencies"],
        *(line for extra in extras.values() for line in extra),
        *PROJECT["dependency-groups"]["models"],
        *PROJECT["dependency-groups"]["bench"],
    ]
    for requirement in map(Requirement, asked):
        if requirement.name != "rankscope":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


# -- what is there already ---------------------------------------------------------------------------------------------


@pytest.fixture
def ready(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the installer did, in words; a .venv that is whole, with the tools, and the CPU build."""
    done: list[str] = []

    def make_venv(why: str) -> None:
        done.append(f"venv{why}")
        shutil.rmtree(install.VENV, ignore_errors=True)
        install.python().parent.mkdir(parents=True)
        install.python().touch()
        (install.VENV / "pyvenv.cfg").touch()

    def installed(level: str, torch: str, _: object) -> None:
        assert (install.VENV / "installing").exists()
        done.append(f"{level} {torch}")

    monkeypatch.setattr(install, "make_venv", make_venv)
    monkeypatch.setattr(install, "install", installed)
    monkeypatch.setattr(install, "driver_answers", lambda: False)
    install.main(["test"])
    assert done == ["venv", "test cpu"]
    done.clear()
    return done


def test_nothing_is_done_twice(install: ModuleType, ready: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    install.main(["test"])
    install.main(["base"])
    monkeypatch.setenv("TORCH", "cpu")
    install.main(["test"])
    assert ready == []
    install.main(["check"])
    assert ready == ["check cpu"]


def test_the_benchmark_is_a_level_beside_the_tests(install: ModuleType, ready: list[str]) -> None:
    install.main(["bench"])
    for level in ("base", "test", "bench"):
        install.main([level])
    assert ready == ["bench cpu"]
    install.main(["check"])
    assert ready == ["bench cpu", "check cpu"]


def test_other_pins_are_installed(install: ModuleType, ready: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "fingerprint", lambda level: f"another {level}")
    install.main(["test"])
    assert ready == ["test cpu"]


def test_an_interrupted_install_starts_afresh(install: ModuleType, ready: list[str]) -> None:
    (install.VENV / "installing").touch()
    install.main(["base"])
    assert ready == ["venv: the last install was interrupted", "base cpu"]
    assert not (install.VENV / "installing").exists()


def test_another_torch_makes_another_venv(
    install: ModuleType, ready: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH", "cuda")
    install.main(["test"])
    monkeypatch.delenv("TORCH")
    install.main(["check"])  # keeps what was asked for before
    assert ready == ["venv: TORCH=cuda was asked for, the one there has cpu", "test cuda", "check cuda"]


def test_another_python_makes_another_venv(
    install: ModuleType, ready: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON", sys.executable)
    install.main(["test"])
    assert ready == []
    monkeypatch.setattr(install.sys, "base_prefix", "/elsewhere")
    install.main(["test"])
    assert ready == ["venv: another PYTHON was asked for", "test cpu"]


def test_a_moved_venv_is_made_anew(install: ModuleType, ready: list[str]) -> None:
    record = install.VENV / "installed.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "root": "/elsewhere"}))
    install.main(["test"])
    assert ready == ["venv: the one there does not work here", "test cpu"]


@posix
def test_a_half_deleted_venv_is_not_taken_for_one(install: ModuleType) -> None:
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", install.VENV], check=True)
    assert install.base_of_venv() is None  # no pip of its own
    (install.VENV / "pyvenv.cfg").unlink()
    assert install.ask(install.python(), "print(1)") == "1"  # runs, as the Python outside
    assert install.base_of_venv() is None
    assert install.unusable({}, "auto", interrupted=False) == ": the one there does not work here"


@pytest.mark.parametrize(
    ("arguments", "torch", "match"),
    [([], "", "give one of base"), (["all"], "", "give one of base"), (["base"], "gpu", "TORCH=gpu is none of auto")],
)
def test_a_wrong_word_is_refused(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str], torch: str, match: str
) -> None:
    monkeypatch.setenv("TORCH", torch)
    with pytest.raises(SystemExit, match=match):
        install.main(arguments)
