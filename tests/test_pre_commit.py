"""The hook of pre-commit, run by pre-commit itself in a repository: it fails and passes with the report."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ci_doors import ROOT, Place, a_place, yaml_of
from reports import a_report

from rankscope.cli.check import command

if TYPE_CHECKING:
    from pathlib import Path

(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in for the command is for a POSIX shell")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A repository with the configuration of the documentation, whose hook comes from another one beside it."""
    hooks, found = a_place(tmp_path / "hooks"), a_place(tmp_path)
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks.repository)
    hooks.commit()
    revision = hooks.run("git", "rev-parse", "HEAD").stdout.strip()
    config = re.sub(r"rev: .*", f"rev: {revision}", yaml_of("ci.md", "rankscope-check"))
    config = re.sub(r"repo: .*", f"repo: {hooks.repository}", config)
    (found.repository / ".pre-commit-config.yaml").write_text(config)
    found.environment["PRE_COMMIT_HOME"] = str(tmp_path / "cache")
    a_report(depth=3).save(found.repository / "report.json")
    found.commit()
    return found


def pre_commit(place: Place, *words: str) -> tuple[int, str]:
    done = place.run(sys.executable, "-m", "pre_commit", "run", *words)
    return done.returncode, done.stdout


def test_the_hook_is_the_check() -> None:
    assert HOOK["entry"].split() == ["rankscope", command.name]
    assert not HOOK["pass_filenames"]


def test_it_fails_and_passes_with_the_report(place: Place) -> None:
    assert pre_commit(place)[0] == 0
    a_report(depth=12, decay=0.6).save(place.repository / "report.json")
    place.run("git", "add", "--all")
    code, told = pre_commit(place)
    assert code == 1
    assert "- exit code: 1" in told
    assert re.search(r"FAIL +verdict != collapsed", told)
    assert pre_commit(place, "--hook-stage", "pre-push")[0] == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [(lambda text: text[:3000], "- exit code: 3"), (lambda text: text.replace('"rows"', '"lines"'), "- exit code: 3")],
)
def test_what_cannot_be_read_does_not_pass(place: Place, change: Any, told: str) -> None:
    report = place.repository / "report.json"
    report.write_text(change(report.read_text()))
    place.run("git", "add", "--all")
    assert told in pre_commit(place)[1]
