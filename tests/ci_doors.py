"""What the doors of CI are run in: a git repository of its own, `rankscope` as a command, nothing of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
_NOT_OURS = ("CI", "COV", "GIT", "PRE_COMMIT", "PYTEST", "PYTHON", "RUNNER")
_FENCE = re.compile(r"^ *```yaml\n(?P<body>.*?)^ *```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Place:
    """A repository to work in, and the environment of its processes."""

    repository: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"cwd": self.repository, "env": self.environment, **options}
        kept = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL, "text": True}
        return subprocess.run(command, check=False, timeout=300, **{**kept, **options})

    def commit(self) -> None:
        for command in (["add", "--all"], ["commit", "--quiet", "--allow-empty", "--message", "all of it"]):
            done = self.run("git", *command)
            assert done.returncode == 0, done.stdout


def a_place(folder: Path) -> Place:
    """An empty repository in a folder, with a home of its own, where `rankscope` is what is tested here."""
    for name in ("git", "bash"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not on this machine")
    repository, home, programs = folder / "re po", folder / "home", folder / "bin"
    for path in (repository, home, programs):
        path.mkdir(parents=True)
    program(programs / "rankscope", f'exec "{sys.executable}" -P -m rankscope "$@"')
    (home / ".gitconfig").write_text(
        "[user]\nname = nobody\nemail = nobody@example.org\n[init]\ndefaultBranch = main\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
    environment |= {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    place = Place(repository, environment)
    assert place.run("git", "init", "--quiet").returncode == 0
    return place


def program(path: Path, body: str) -> None:
    """A program of the shell; one that is there is replaced."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def yaml_of(page: str, word: str) -> str:
    """The one YAML block of a page of docs/ that holds a word."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (found,) = [match["body"] for match in _FENCE.finditer(text) if word in match["body"]]
    return found
