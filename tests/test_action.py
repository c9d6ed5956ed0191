"""The action of GitHub: its metadata, and its steps run with bash in a repository, as a runner does."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import junitparser
import pytest
import yaml
from ci_doors import ROOT, Place, a_place, program
from reports import a_hostile_report, a_report, undefined_report

from rankscope.requirements import Baseline

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")  # what `shell: bash` stands for

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the steps are for a POSIX shell")


@dataclass
class Job:
    """One run of the action."""

    inputs: dict[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    used: dict[str, dict[str, str]] = field(default_factory=dict)
    exit_code: int = 0
    log: str = ""
    summary: str = ""

    def value(self, expression: str) -> str:
        """What an expression stands for; one that is not known is an error."""
        if found := re.fullmatch(r"inputs\.([\w-]+)", expression):
            return self.inputs[found[1]]
        if found := re.fullmatch(r"steps\.(\w+)\.outputs\.([\w-]+)", expression):
            assert found[1] in {step.get("id") for step in STEPS}
            return self.outputs.get(found[1], {}).get(found[2], "")
        raise AssertionError(f"an expression that a runner may not know: {expression}")

    def filled(self, text: str) -> str:
        return EXPRESSION.sub(lambda match: self.value(match[1]), text)

    def wanted(self, condition: str) -> bool:
        """Whether a step runs: terms joined by &&, each always() or a comparison with a text."""
        terms = condition.split(" && ") if condition else []
        if self.exit_code and "always()" not in terms:
            return False
        compared = [re.fullmatch(r"(\S+) != '(\w*)'", term) for term in terms if term != "always()"]
        return all(match is not None and self.value(match[1]) != match[2] for match in compared)

    def output(self, name: str) -> str:
        return self.filled(ACTION["outputs"][name]["value"])


def run(place: Place, **inputs: str) -> Job:
    """Run the steps in order, as a runner does; those of others are noted and not run."""
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    defaults = {name: entry.get("default", "") for name, entry in ACTION["inputs"].items()}
    assert set(given) <= set(defaults)
    job = Job({**defaults, "version": "none", **given})
    temporary = place.repository.parent / "temp"
    temporary.mkdir(exist_ok=True)
    for step in STEPS:
        if not job.wanted(step.get("if", "")):
            continue
        if "uses" in step:
            job.used[step["uses"]] = {name: job.filled(text) for name, text in step["with"].items()}
            continue
        script, output, summary = (temporary / name for name in ("script.sh", "output", "summary"))
        script.write_text(step["run"])
        output.write_text("")
        summary.write_text("")
        runner = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(place.repository.parent / "action"),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            "RUNNER_TEMP": str(temporary),
        }
        env = {name: job.filled(text) for name, text in step.get("env", {}).items()}
        where = place.repository / job.filled(step.get("working-directory", "."))
        done = place.run(*BASH, script, cwd=where, env={**place.environment, **runner, **env})
        job.log += done.stdout
        job.summary += summary.read_text()
        job.exit_code = job.exit_code or done.returncode
        lines = [line.partition("=") for line in output.read_text().splitlines()]
        assert all(equals for _, equals, _ in lines)
        job.outputs[step.get("id", "")] = {name: value for name, _, value in lines}
    return job


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = a_place(tmp_path)
    a_report(depth=3).save(found.repository / "healthy.json")
    a_report(depth=12, decay=0.6).save(found.repository / "collapsed.json")
    undefined_report().save(found.repository / "undefined.json")
    found.commit()
    return found


@pytest.fixture
def calls(place: Place) -> Path:
    """A `rankscope` and a `python` that only note how they are called; the exit code is that in a file `code`."""
    notes = place.repository.parent / "calls"
    note = f'import json, sys; print(json.dumps(sys.argv[1:]), file=open("{notes}", "a"))'
    (place.repository / "code").write_text("0")
    for name in ("rankscope", "python"):
        body = f'"{sys.executable}" -c \'{note}\' {name} "$@"; exit $(cat code 2>/dev/null || echo 0)'
        program(place.repository.parent / "bin" / name, body)
    return notes


def called(notes: Path) -> list[list[str]]:
    return [json.loads(line) for line in notes.read_text().splitlines()]


# what the file says


def test_every_input_and_output_is_described_and_every_input_is_used() -> None:
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert ACTION["runs"]["using"] == "composite"
    for entry in (*ACTION["inputs"].values(), *ACTION["outputs"].values()):
        assert entry["description"].endswith((".", "file.txt", "=10%", "false"))
    assert all(isinstance(entry["default"], str) for entry in ACTION["inputs"].values())
    used = set(re.findall(r"inputs\.([\w-]+)", text))
    assert used == set(ACTION["inputs"])


def expressions(part: Any, key: str = "") -> list[tuple[str, str]]:
    """Every expression with the key that it stands under."""
    if isinstance(part, dict):
        return [found for name, inner in part.items() for found in expressions(inner, name if key != "env" else key)]
    if isinstance(part, list):
        return [found for inner in part for found in expressions(inner, key)]
    return [(key, match) for match in EXPRESSION.findall(str(part))] + [("", "?")] * (
        "${{" in EXPRESSION.sub("", str(part))
    )


def test_no_expression_reaches_a_shell() -> None:
    found = expressions(STEPS)
    assert len(found) > 10
    assert {key for key, _ in found} <= {"env", "working-directory", "python-version", "name", "path"}
    assert not any("${{" in step.get(key, "") for step in STEPS for key in ("run", "if"))
    assert all("uses" in step for step in STEPS if "${{" in json.dumps(step.get("with", "")))


def test_an_expression_in_a_shell_would_be_seen() -> None:
    assert ("run", "inputs.model") in expressions([{"run": "rankscope probe ${{ inputs.model }}"}])


@pytest.mark.parametrize("step", [step for step in STEPS if "run" in step], ids=lambda step: step["name"])
def test_scripts_name_their_shell_and_use_what_they_are_given(step: dict[str, Any]) -> None:
    assert step["shell"] == "bash"
    assert all(re.search(rf"\$\{{?{name}\b|\${{{name}:", step["run"]) for name in step["env"])


def test_other_actions_are_pinned_to_a_version() -> None:
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in STEPS if "uses" in step)


# models


def test_a_collapsed_model_fails(place: Place) -> None:
    job = run(
        place,
        model="baseline",
        rules="verdict != collapsed\n\n  mu_bar >= 0.001 @ first \n",
        args="--measures forward\n--max-tokens 32",
    )
    assert job.exit_code == 1
    assert (job.output("verdict"), job.output("exit-code")) == ("failed", "1")
    report, findings = (json.loads(Path(job.output(name)).read_text()) for name in ("report", "findings"))
    for name, written in (("report", report), ("check", findings)):
        jsonschema.validate(written, json.loads((ROOT / "rankscope" / f"{name}.schema.json").read_text()))
    assert report["model"]["spec"] == "baseline"
    assert [rule["status"] for rule in findings["requirements"]] == ["failed", "ok"]
    assert job.summary.count("## rankscope check: failed") == 1
    assert len(re.findall(r"^::error title=verdict != collapsed::", job.log, re.MULTILINE)) == 1
    kept = job.used["actions/upload-artifact@v6"]
    assert kept["name"] == "rankscope"
    assert {path.name for path in Path(kept["path"]).iterdir()} == {
        *("report.json", "findings.json", "junit.xml", "report.html", "log.txt")
    }
    suites = junitparser.JUnitXml.fromfile(str(Path(kept["path"]) / "junit.xml"))
    assert (suites.tests, suites.failures, suites.errors) == (2, 1, 0)


def test_a_healthy_model_passes(place: Place) -> None:
    job = run(place, model="lambda-skip", rules="verdict != collapsed", args="--measures forward\n--max-tokens 32")
    assert (job.exit_code, job.output("verdict"), job.output("exit-code")) == (0, "passed", "0")
    assert "## rankscope check: passed" in job.summary
    assert "::error" not in job.log
    assert "::notice title=rankscope check::the requirement holds" in job.log


def test_what_cannot_be_measured_says_so(place: Place) -> None:
    job = run(place, model="no such 100%.pt", rules="verdict != collapsed")
    assert (job.exit_code, job.output("verdict"), job.output("exit-code")) == (3, "not-measured", "3")
    assert (job.output("report"), job.output("findings")) == ("", "")
    assert job.summary.startswith("## rankscope check: not-measured\n\n    error: no such 100%.pt was not loaded")
    assert re.search(r"^::error title=rankscope::no such 100%25\.pt was not loaded", job.log, re.MULTILINE)
    assert job.used["actions/upload-artifact@v6"]["path"]


# reports


@pytest.mark.parametrize(
    ("inputs", "exit_code", "verdict"),
    [
        ({"report": "healthy.json", "rules": "verdict != collapsed"}, 0, "passed"),
        ({"report": "collapsed.json", "rules": "mu_bar >= 0\nverdict != collapsed"}, 1, "failed"),
        ({"report": "undefined.json", "rules": "mu_bar >= 0"}, 1, "failed"),
        ({"report": "healthy.json"}, 2, "usage-error"),
        ({"report": "healthy.json", "rules": "mu_baar >= 0"}, 2, "usage-error"),
        ({"report": "healthy.json", "max_drop": "mu_bar=1%"}, 2, "usage-error"),
        ({"report": "healthy.json", "model": "baseline", "rules": "mu_bar >= 0"}, 2, "usage-error"),
        ({"rules": "mu_bar >= 0"}, 2, "usage-error"),
        ({"report": "none.json", "rules": "mu_bar >= 0"}, 3, "not-measured"),
    ],
    ids=str,
)
def test_reports(place: Place, inputs: dict[str, str], exit_code: int, verdict: str) -> None:
    job = run(place, **inputs)
    assert (job.exit_code, job.output("exit-code"), job.output("verdict")) == (exit_code, str(exit_code), verdict)
    assert job.summary.count(f"## rankscope check: {verdict}") == 1
    assert bool(job.output("findings")) == (exit_code < 2)
    assert ("::error" in job.log) == (exit_code > 0)


def test_a_baseline_and_a_configuration(place: Place) -> None:
    folder = place.repository / "a 'quoted' folder"
    folder.mkdir()
    Baseline.of(a_report(depth=12)).save(folder / "base line.json")
    (folder / "our rules.toml").write_text("require = ['mu_bar >= 0.001']")
    shutil.copy(place.repository / "collapsed.json", folder / "my report.json")
    job = run(
        place,
        working_directory="a 'quoted' folder",
        report="my report.json",
        max_drop="mu_bar=10%\neffective_rank=50%",
        baseline="base line.json",
        config="our rules.toml",
        html="false",
        artifact="",
    )
    assert job.exit_code == 1
    rules = json.loads(Path(job.output("findings")).read_text())["requirements"]
    assert {rule["rule"]: rule["status"] for rule in rules}["mu_bar >= 0.001"] == "ok"
    assert {rule["operator"] for rule in rules} == {">=", "max_drop"}
    assert job.used == {}
    assert not (Path(job.output("report")).parent / "report.html").exists()


def test_names_in_a_model_are_no_commands(place: Place) -> None:
    a_hostile_report().save(place.repository / "hostile.json")
    job = run(place, report="hostile.json", rules="mu_bar >= 0.5")
    before, token, rest = re.split(r"::stop-commands::(.*)\n", job.log)
    shown, own = rest.split(f"::{token}::\n")
    assert before == ""
    assert "effective rank" in shown or "blocks" in shown
    assert {line.partition(" ")[0] for line in own.splitlines() if line.startswith("::")} == {"::error", "::notice"}


def test_two_runs_in_one_job_do_not_meet(place: Place) -> None:
    first, second = (
        run(place, report=f"{name}.json", rules="verdict != collapsed") for name in ("healthy", "collapsed")
    )
    assert first.output("report") != second.output("report")
    assert json.loads(Path(first.output("findings")).read_text())["passed"]


# what is handed on


HOSTILE = [
    '"; touch pwned; "',
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned #",
    "${IFS}touch${IFS}pwned",
    "a|touch pwned&",
    "--trust",
    "*",
    "back\\slash \\\" it's",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_inputs_stay_words(place: Place, calls: Path, text: str) -> None:
    job = run(
        place,
        version=text,
        model=text,
        args=f"--text {text}\n--input={text}",
        rules=f"{text}\n{text}",
        baseline=text,
        config=text,
        max_drop=text,
        torch_index=text,
        python_version=text,
        artifact=text,
    )
    assert job.exit_code == 0
    torch, package, probe, check = called(calls)
    assert torch == ["python", "-m", "pip", "install", f"--index-url={text}", "torch>=2.10"]
    assert package == ["python", "-m", "pip", "install", f"rankscope=={text}"]
    assert probe[-2:] == ["--", text]
    assert [f"--config={text}", "--text", text, f"--input={text}"] == probe[3:-2]
    assert [word for word in check if word.startswith(("--require", "--max-drop", "--baseline", "--config"))] == [
        *(f"--config={text}", f"--baseline={text}", f"--require={text}", f"--require={text}", f"--max-drop={text}")
    ]
    assert job.used["actions/setup-python@v6"] == {"python-version": text}
    assert not list(place.repository.parent.rglob("pwned"))


def test_options_are_one_a_line(place: Place, calls: Path) -> None:
    args = "--text my data.txt\n--seed=3\n\n   --trust   \n--random ids=4x64:int64:0..255\n--layers=a b"
    assert run(place, model="net.py:Net", args=args).exit_code == 0
    assert called(calls)[0][3:-2] == [
        *("--text", "my data.txt", "--seed=3", "--trust", "--random", "ids=4x64:int64:0..255", "--layers=a b")
    ]


def test_other_exit_codes_are_kept(place: Place, calls: Path) -> None:
    (place.repository / "code").write_text("70")
    job = run(place, model="x")
    assert (job.exit_code, job.output("verdict"), job.output("exit-code")) == (70, "error", "70")
    assert len(called(calls)) == 1  # nothing is judged where nothing was measured


# installing


def test_without_a_version_the_action_installs_itself(place: Place, calls: Path) -> None:
    (place.repository / "code").write_text("1")
    job = run(place, version="", torch_index="", model="x")
    assert called(calls) == [["python", "-m", "pip", "install", "torch>=2.10"]]
    assert (job.exit_code, job.output("verdict"), job.used) == (1, "", {})
    calls.unlink()
    (place.repository / "code").write_text("0")
    run(place, version="", torch_index="", model="x")
    assert called(calls)[1] == ["python", "-m", "pip", "install", str(place.repository.parent / "action")]


def test_pip_takes_what_is_installed(place: Place) -> None:
    """pip reads both lines and makes the metadata of this package; nothing is fetched or installed."""
    action = place.repository.parent / "action"
    action.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, action)
    shutil.copytree(ROOT / "rankscope", action / "rankscope", ignore=shutil.ignore_patterns("__pycache__"))
    dry = f'"{sys.executable}" "$@" --dry-run --no-deps --no-build-isolation --disable-pip-version-check'
    program(place.repository.parent / "bin" / "python", dry)
    job = run(place, version="", report="healthy.json", rules="mu_bar >= 0")
    assert job.exit_code == 0, job.log
    assert re.search(r"^Requirement already satisfied: torch>=2\.10", job.log, re.MULTILINE)
    assert re.search(r"^Would install rankscope-", job.log, re.MULTILINE)
