"""`rankscope check`: exit codes, what is written where, and what is told of a rule that a shell took apart."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fakes import Calls, modules
from reports import a_hostile_report, a_report, undefined_report

from rankscope.cli import _slips, main
from rankscope.requirements import Baseline, read_baseline

ROOT = Path(__file__).resolve().parents[2]
BASE = "rankscope-baseline.json"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with reports, and no workflow of GitHub around it."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    a_report(depth=3).save("r.json")
    a_report(depth=12, decay=0.6).save("c.json")
    undefined_report().save("u.json")
    a_hostile_report().save("h.json")
    return tmp_path


def run(*arguments: str) -> int:
    return main(["check", *arguments])


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["r.json", "--min", "mu_bar=0.05@last", "--min", "effective_rank=2", "--max", "value_cosine=0.99"], 0),
        (["r.json", "--require", "min(effective_rank) >= 4 @ blocks.*"], 0),
        (["r.json", "--require", "verdict != collapsed"], 0),
        (["c.json", "--require", "verdict != collapsed"], 1),
        (["c.json", "--min", "mu_bar=0.05@last", "--min", "mu_bar=0.001@last"], 1),
        (["u.json", "--min", "mu_bar=0"], 1),
        (["u.json", "--max", "mu_bar=1e9"], 1),
        (["r.json"], 2),
        ([], 2),
        (["--min", "mu_bar=0"], 2),
        (["r.json", "c.json", "--min", "mu_bar=0"], 2),
        (["r.json", "--min", "mu_baar=0"], 2),
        (["r.json", "--min", "mu_bar=0@nowhere"], 2),
        (["r.json", "--require", "mu"], 2),
        (["r.json", "--min", "mu_bar=0", "--seed", "3"], 2),
        (["r.json", "--min", "mu_bar=0", "--trust"], 2),
        (["r.json", "--min", "mu_bar=0", "--format", "csv"], 2),
        (["r.json", "--min", "mu_bar=0", "-o", "x.csv"], 2),
        (["r.json", "--min", "mu_bar=0", "-o", "no/folder.json"], 2),
        (["r.json", "--max-drop", "mu_bar=1"], 2),
        (["r.json", "--min", "mu_bar=0", "--baseline", "b.json"], 2),
        (["r.json", "--update-baseline=some"], 2),
        (["none.json", "--min", "mu_bar=0"], 3),
        (["cut.json", "--min", "mu_bar=0"], 3),
        (["other.json", "--min", "mu_bar=0"], 3),
    ],
    ids=str,
)
def test_exit_codes(arguments: list[str], exit_code: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("r.json").read_text()
    Path("cut.json").write_text(text[:3000])
    Path("other.json").write_text(text.replace("rankscope.report/1", "rankscope.report/2"))
    before = sorted(Path().iterdir())
    assert run(*arguments) == exit_code
    out, err = capsys.readouterr()
    assert bool(out) == (exit_code < 2)
    assert ("error: " in err) == (exit_code > 1)
    assert sorted(Path().iterdir()) == before


def test_every_output_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    files = ["f.json", "f.xml", "f.md", "f.txt", "f.html"]
    outputs = [word for name in files for word in ("-o", name)]
    assert run("c.json", "--min", "mu_bar=0.05", "--min", "mu=0", *outputs) == 1
    assert "1 of 2 requirements failed" in capsys.readouterr().out
    found = json.loads(Path("f.json").read_text())
    root = ElementTree.parse("f.xml").getroot()
    assert found["counts"]["failed"] == int(root.get("failures", "0")) > 0
    assert all("1 of 2 requirements failed" in Path(name).read_text() for name in ("f.md", "f.txt"))
    assert "mu_bar" in Path("f.html").read_text()


@pytest.mark.parametrize("form", ["table", "json", "junit", "github", "md", "html"])
def test_every_format_on_the_screen(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("h.json", "--min", "mu_bar=0.5", "--format", form) == 1
    out, err = capsys.readouterr()
    assert (err, "\x1b" in out) == ("", False)


# what a shell leaves of a rule


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["r.json", "--require", "mu_bar"], "0.05@last"),
        (["r.json", "--min", "mu_bar"], "0.05@last"),
        (["r.json", "--require", "mu_bar", "0.05", "@", "last"], "="),
        (["r.json", "--require", "mu_bar", "0.05"], "="),
        (["r.json", "--require", "mu_bar"], None),
    ],
)
def test_a_rule_without_quotes(arguments: list[str], left: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    if left:
        Path(left).touch()
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert "[RS116]" in err
    assert ("a file that the shell may have made" in err) == bool(left)
    assert not left or left in err


@pytest.mark.skipif(os.name == "nt", reason="the rules of a POSIX shell")
def test_a_real_shell(here: Path) -> None:
    line = f"{sys.executable} -m rankscope check r.json --require mu_bar>0.05@last"
    done = subprocess.run(
        ["sh", "-c", line], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "did you mean" not in done.stderr
    assert "did the shell take your < or >?" in done.stderr
    assert (here / "0.05@last").read_text() == ""


# configuration


def test_rules_add_to_those_of_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rankscope.toml").write_text("require = ['mu_bar >= 0.99', { rule = 'mu >= 1e9', severity = 'warn' }]")
    assert run("r.json") == 1
    assert run("r.json", "--min", "mu_bar=0.01") == 0  # the same measure, operator and layers
    assert "warn" in capsys.readouterr().out
    assert run("r.json", "--min", "mu_bar=0.01@last") == 1
    assert run("r.json", "--min", "mu_bar=0.01", "--strict") == 1
    assert run("r.json", "--min", "mu_bar=0.01", "--no-config", "--strict") == 0
    Path("rankscope.toml").write_text("require = ['mu_bar >=']")
    assert run("r.json", "--min", "mu_bar=0.01") == 2
    assert "rankscope.toml: require 1" in capsys.readouterr().err


# baseline


def test_a_baseline_is_recorded_compared_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("r.json", "--update-baseline") == 0
    assert f"{BASE} was written" in capsys.readouterr().err
    recorded = Path(BASE).read_bytes()
    assert run("r.json", "--max-drop", "effective_rank=0%") == 0
    a_report(depth=3, decay=0.5).save("worse.json")
    assert run("worse.json", "--max-drop", "effective_rank=10%") == 1
    assert Path(BASE).read_bytes() == recorded
    assert run("--update-baseline", "worse.json", "--min", "mu_bar=0.99") == 1
    assert "was not touched: a requirement failed" in capsys.readouterr().err
    assert run("worse.json", "--max-drop", "effective_rank=10%", "--update-baseline=improved") == 1
    assert Path(BASE).read_bytes() == recorded
    assert run("worse.json", "--max-drop", "effective_rank=10%", "--update-baseline") == 0
    assert Path(BASE).read_bytes() != recorded
    assert run("r.json", "--max-drop", "effective_rank=10%", "--update-baseline=improved") == 0
    assert Path(BASE).read_bytes() == recorded


def test_where_the_baseline_lies(capsys: pytest.CaptureFixture[str]) -> None:
    Path("sub").mkdir()
    Path("rankscope.toml").write_text("baseline = 'sub/b.json'\nmax-drop = { mu_bar = '1%' }")
    assert run("r.json") == 2
    assert "sub/b.json was not read" in capsys.readouterr().err
    assert run("r.json", "--update-baseline") == 0
    assert Path("sub/b.json").exists()
    assert run("r.json") == 0
    assert run("r.json", "--baseline", "other.json") == 2
    assert not Path(BASE).exists()


@pytest.mark.parametrize(
    ("change", "exit_code", "told"),
    [
        (lambda text: text.replace("abab", "cdcd"), 3, "inputs.sha256 differs"),
        (lambda text: text.replace("float32", "bfloat16"), 3, "environment.dtype differs"),
        (lambda text: text.replace('"mu_bar": 1,', '"mu_bar": 2,'), 3, "version of mu_bar differs"),
        (lambda text: text.replace("baseline/1", "baseline/9"), 2, "is no baseline"),
        (lambda text: text[:-20], 2, "is no baseline"),
        (lambda text: text.replace('"blocks.2"', '"blocks.9"'), 1, ""),
    ],
)
def test_a_baseline_of_something_else(
    change: Any, exit_code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for rule in (["--max-drop", "mu_bar=10%"], ["--max-drop", "mu_bar=10%", "--update-baseline=improved"]):
        text = change(Baseline.of(a_report(depth=3)).to_json())
        Path(BASE).write_text(text)
        assert run("r.json", *rule) == exit_code
        assert told in capsys.readouterr().err
        assert Path(BASE).read_text() == text


def test_a_full_disk_leaves_the_baseline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path(BASE).write_text(Baseline.of(a_report(depth=3)).to_json())
    recorded = Path(BASE).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert run("c.json", "--update-baseline") == 2
    assert Path(BASE).read_bytes() == recorded


def test_what_recording_anew_changes_is_told_and_drops_are_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    a_report(depth=3, decay=0.5).save("worse.json")
    assert run("r.json", "--update-baseline", "--max-drop", "mu_bar=10%") == 0
    out, err = capsys.readouterr()
    assert "max-drop mu_bar=10%: not judged: the baseline was recorded anew" in err
    assert f"{BASE} was written\n" in err
    assert "holds" not in out
    recorded = Path(BASE).read_bytes()
    assert run("worse.json", "--update-baseline", "--max-drop", "mu_bar=10%", "--min", "mu_bar=0.99") == 1
    assert "would be recorded anew" in capsys.readouterr().err
    assert Path(BASE).read_bytes() == recorded
    assert run("worse.json", "--update-baseline", "--max-drop", "mu_bar=10%", "--min", "mu_bar=0.01") == 0
    out, err = capsys.readouterr()
    assert re.search(rf"{BASE} was written: \d+ numbers fell, \d+ stayed; the largest change is \S+ at blocks\.2", err)
    assert "mu_bar >= 0.01" in out
    assert "max-drop" not in out
    assert run("r.json", "--update-baseline=improved", "--max-drop", "mu_bar=10%") == 0
    out, err = capsys.readouterr()
    assert "numbers rose" in err
    assert "max-drop mu_bar=10%" in out
    assert (
        run("r.json", "--update-baseline", "--max-drop", "mu_bar_unit=1", "--max-drop", "mu_1inf=1") == 1
    )  # not there


@pytest.mark.parametrize("text", ["", "{", '{\n "environment": {\n', "<<<<<<< HEAD\n{"])
def test_a_damaged_baseline_is_recorded_anew_and_no_other_file(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Baseline.of(a_report(depth=3)).to_json()
    damaged = {"{": whole[:50], "<<<<<<< HEAD\n{": f"<<<<<<< HEAD\n{whole}"}.get(text, text)
    Path(BASE).write_text(damaged)
    assert run("r.json", "--update-baseline") == 0
    assert Path(BASE).read_text() == whole
    newer = whole.replace("baseline/1", "baseline/2")
    for name, other in (("r.json", None), ("net.py", "x = 1\n"), ("n.json", "[1]"), ("new.json", newer)):
        if other is not None:
            Path(name).write_text(other)
        before = Path(name).read_text()
        capsys.readouterr()
        assert run("c.json", "--update-baseline", "--baseline", name) == 2
        assert "RS640" in capsys.readouterr().err
        assert Path(name).read_text() == before


def test_a_file_of_another_kind_is_named_and_no_step_writes_over_it(capsys: pytest.CaptureFixture[str]) -> None:
    from rankscope import check, compare

    Baseline.of(a_report(depth=3)).save(Path(BASE))
    check("r.json", min={"mu_bar": 0.01}).save("f.json")
    compare("r.json", "r.json").save("cmp.json")
    Path("new.json").write_text(Path("r.json").read_text().replace("report/1", "report/2"))
    for name, told in (
        (
            BASE,
            f"a baseline Count drops from it: rankscope check REPORT --max-drop effective_rank=10% --baseline {BASE}",
        ),
        ("f.json", "what a check found"),
        ("cmp.json", "a comparison Compare the reports"),
        ("new.json", "newer rankscope: python -m pip install --upgrade rankscope"),
    ):
        for words in (["check", name, "--min", "mu_bar=0"], ["report", name], ["compare", name, "r.json"]):
            assert main(words) == 3
            err = " ".join(re.sub(r"\[RS\d+\]", "", capsys.readouterr().err).split())
            assert told in err
            assert f"-o {name}" not in err
    assert run("r.json", "--max-drop", "mu_bar=1%", "--baseline", "c.json") == 2
    err = capsys.readouterr().err
    assert "c.json is no baseline, but a report" in err
    assert f"rankscope check c.json --baseline {BASE} --update-baseline" in err
    assert "git checkout" not in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--require", "verdict", "!=", "collapsed"], "--require 'verdict != collapsed'"),
        (["--require", "mu_bar", "0.1"], "--require 'mu_bar 0.1'"),
        (["--min", "mu_bar", "0.1"], "--min mu_bar=0.1"),
        (["--min", "mu_bar", "0.1", "--max-drop", "mu", "3%"], "--max-drop mu=3%"),
        (["--update-baseline", "improved"], "--update-baseline=improved"),
        (["c.json", "--min", "mu=1"], "rankscope compare r.json c.json"),
        (["--min", "mu=1", "--seed", "3"], "Leave out: --seed"),
        (["--min", "mu=1", "--config", "nope.toml"], "--no-config"),
        (["--config", "x.toml", "--no-config"], "--config x.toml"),
        (["--max-drop", "mu_bar=-5%"], "--max-drop mu_bar=5%"),
        (["--max-drop", "mu_bar=x"], "--max-drop effective_rank=10%"),
        (["--require", "verdict >= healthy"], "--require 'verdict != collapsed'"),
        (["--max-drop", "effective_rank=150%"], "could never fail"),
        (["--min", "mu_bar=200%"], "could never hold"),
        (["--max", "mu_bar=100%"], "could never fail"),
        (["--require", "value_cosine <= 0.9 @ 1"], "all others are compared with it"),
        (["--min", "MU_BAR=0.1"], "did you mean mu_bar"),
        (["--max-drop", "mu=1", "--baseline", "no.json"], "check r.json --baseline no.json --update-baseline"),
    ],
    ids=str,
)
def test_every_refusal_has_a_next_step(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("r.json", *arguments) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_other_inputs_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    report = replace(a_report(depth=3), inputs={"source": "text: sample.txt", "sha256": "ab" * 32})
    Baseline.of(report).save(Path(BASE))
    replace(report, inputs={"source": "random: x=2x8, seed 0", "sha256": "cd" * 32}).save("other.json")
    assert run("other.json", "--max-drop", "mu_bar=1") == 3
    err = " ".join(capsys.readouterr().err.split())
    assert "baseline text: sample.txt (abababababab)" in err
    assert "report random: x=2x8, seed 0 (cdcdcdcdcdcd)" in err
    assert "rankscope check other.json --update-baseline" in err
    data = json.loads(Path(BASE).read_text())
    data["inputs"].pop("source")  # as an older version wrote it
    Path(BASE).write_text(json.dumps(data))
    assert run("other.json", "--max-drop", "mu_bar=1") == 3
    assert "recorded by an older rankscope" in capsys.readouterr().err


def test_a_rule_given_twice_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("c.json", "--min", "mu_bar=0.5", "--require", "mu_bar >= 0.5") == 1
    assert "1 of 1 requirement failed" in capsys.readouterr().out


def test_an_alias_may_name_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rankscope.toml").write_text("seed = 3\n[models]\nours = 'r.json'\nbest = 'ours'\nloop = 'loop'")
    for name in ("ours", "best"):
        assert run(name, "--min", "mu_bar=0.05@last") == 0
        assert main(["compare", name, "c.json"]) == 0
    assert run("loop", "--min", "mu_bar=0.05@last") != 0
    assert "loop" in capsys.readouterr().err


# GitHub


def test_in_a_workflow_there_are_annotations_and_a_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    Path("summary.md").write_text("before\n")
    assert run("h.json", "--min", "mu_bar=0.5", "--format", "json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["passed"] is False
    assert err.startswith("::error title=mu_bar >= 0.5::")
    assert run("r.json", "--min", "mu_bar=0.5", "--format", "github") == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("::notice title=rankscope check::the requirement holds\n", "")
    summary = Path("summary.md").read_text()
    assert summary.startswith("before\n## rankscope check: failed")
    assert summary.count("## rankscope check") == 2


def test_outside_of_a_workflow_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("c.json", "--min", "mu_bar=0.5") == 1
    out, err = capsys.readouterr()
    assert "::" not in out + err


def test_a_summary_that_cannot_be_written_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "no/such/folder.md")
    assert run("r.json", "--min", "mu_bar=0.05") == 0
    assert "the summary of the step was not written" in capsys.readouterr().err


# a model


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls()
    for name, module in modules(found).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(_slips, "check", lambda *_: None)
    return found


def test_a_model_is_measured_for_the_rules(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rankscope.toml").write_text("models = { net = 'pkg:build' }")
    flags = ["--random", "x=2x8x16", "--seed", "3", "--device", "cpu", "--allow", "pkg.*"]
    assert run("model.pt", "--min", "mu_bar=0.05@last", "--require", "head:value_cosine <= 1 @ first", *flags) == 1
    assert calls.model == "model.pt"
    assert calls.load == {"allow": ("pkg.*",), "seed": 3, "aliases": {"net": "pkg:build"}}
    assert calls.inputs == {"random": ("x=2x8x16",), "seed": 3}
    assert calls.measure == {"device": "cpu", "measures": ("mu_bar", "head:value_cosine")}
    assert "1 of 2 requirements failed" in capsys.readouterr().out  # the stand-in has no heads


def test_keys_of_the_configuration_are_defaults_and_the_command_line_wins(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("conf").mkdir()
    Path("conf/w.pt").touch()
    Path("conf/rankscope.toml").write_text(
        "random = 'x=2x8x16'\nseed = 3\nweights = 'w.pt'\nbatches = 2\nskip-layers = ['head']\ndevice = 'cpu'"
    )
    words = ["model.pt", "--min", "mu_bar=0.05@last", "--config", "conf/rankscope.toml"]
    assert run(*words) == 0
    assert calls.load["weights"] == Path("conf/w.pt")
    assert calls.inputs == {"random": ("x=2x8x16",), "seed": 3, "batches": 2}
    assert calls.measure == {"device": "cpu", "skip_layers": ("head",), "measures": ("mu_bar",)}
    told = "note: from the configuration: weights, random, batches, seed, skip-layers, device (--no-config reads none)"
    assert told in capsys.readouterr().err
    Path("t.txt").touch()
    assert run(*words, "--seed", "5", "--text", "t.txt") == 0
    assert calls.inputs == {"text": Path("t.txt"), "seed": 5, "batches": 2}
    assert run("r.json", *words[1:]) == 0  # a saved report takes no notice
    for text, told in (
        ("seed = 'x'", "seed: a whole number is expected, not 'x'"),
        ("seed = -1", "seed: -1 is not in the range"),
        ("init-only = 1", "init-only: true or false"),
        ("random = [1]", "random: text or a list of texts"),
        ("dtype = 3", "dtype: text is expected"),
        ("dtype = 'int8'", "dtype: 'int8' is not one of"),
        ("device = 'tpu'", "device: 'tpu' is none of"),
    ):
        Path("conf/rankscope.toml").write_text(text)
        capsys.readouterr()
        assert run(*words) == 2
        err = " ".join(capsys.readouterr().err.split())
        assert f"conf/rankscope.toml: {told}" in err
        assert "[RS105]" in err


def test_what_is_asked_for_is_measured_too(calls: Calls) -> None:
    assert run("model.pt", "--min", "mu_bar=0.05@last", "--measures", "mu,quick") == 0
    assert calls.measure["measures"] == ("mu", "quick", "mu_bar")
    assert run("model.pt", "--update-baseline") == 0
    assert calls.measure["measures"] == ("quick",)
    assert read_baseline(Path(BASE)).layers


def test_nothing_is_measured_where_the_rules_are_wrong(calls: Calls) -> None:
    for words in (["--min", "mu_bar"], [], ["--max-drop", "mu=1"], ["--min", "mu=1", "-o", "x.csv"]):
        assert run("model.pt", *words) == 2
    assert calls.model == ""


def test_a_real_model_fails_and_another_one_passes() -> None:
    spec = "zoo:transformer,depth=3,width=16,heads=2"
    flags = ["--require", "verdict != collapsed", "--batches", "1", "-q"]
    assert run(spec, *flags) == 0
    assert run("baseline", *flags) == 1


# speed


def test_a_report_is_checked_without_torch_and_at_once(here: Path) -> None:
    resource = pytest.importorskip("resource", reason="the processor's time of a child is had on POSIX systems only")
    a_report(depth=12).save("large.json")
    words = ["check", "large.json", "--min", "mu_bar=0.01", "--max", "value_cosine=0.99", "--max-drop", "mu=1%"]
    Baseline.of(a_report(depth=12)).save(Path(BASE))
    script = (
        "import sys; from rankscope.cli import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'torch', 'pandas', 'scipy', 'numpy', 'jinja2'} & set(sys.modules)), file=sys.stderr)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(here / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    least = {"check": math.inf, "libraries": math.inf}
    for _ in range(4):  # the first one compiles
        for name, code in (("check", script), ("libraries", "import click, rich.console")):
            start = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-c", code, *words]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            end = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert name != "check" or done.stderr.splitlines()[-1] == "0 []"
            taken = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
            least[name] = min(least[name], taken)
    assert least["check"] < 4 * least["libraries"]  # torch alone is some twenty times as much


def test_what_is_shown_is_the_same_as_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    from rankscope import check

    assert run("c.json", "--min", "mu_bar=0.05", "--format", "json") == 1
    assert json.loads(capsys.readouterr().out) == check("c.json", min={"mu_bar": 0.05}).to_dict()
    assert replace(check("c.json", min={"mu_bar": 0.05}), strict=True).exit_code == 1
