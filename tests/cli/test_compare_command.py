from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reports import a_report

from rankscope.cli import main

ROOT = Path(__file__).resolve().parents[2]
TINY = "zoo:transformer,depth=2,width=16,heads=2"


def with_samples(report: Any, shift: float = 0.0) -> Any:
    """The report with eight samples in each row, of which those of the last layer are shifted."""
    rows = []
    for row in report.rows:
        by = shift if row.layer_index == 2 else 0.0
        if row.value is not None and row.scope == "sequence":
            samples = tuple(row.value + by + 1e-3 * i for i in range(8))
            row = replace(row, value=row.value + by, samples=samples)
        rows.append(row)
    return replace(report, rows=tuple(rows))


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    with_samples(a_report(2, spec="a.pt")).save("a.json")
    with_samples(a_report(2, spec="b.pt"), 0.01).save("b.json")
    return ["a.json", "b.json"]


def test_two_reports_are_put_side_by_side(saved: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a.json", "vs", "b.json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "A and B healthy; they differ first at blocks.1 (" in " ".join(out.split())
    assert main(["compare", *saved]) == 0
    assert capsys.readouterr().out == out  # "vs" is a word, not a model


def test_the_word_vs_is_no_file_but_a_path_of_it_is(saved: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("vs").write_bytes(Path("b.json").read_bytes())
    assert main(["compare", "a.json", "./vs"]) == 0
    assert "B       vs: of b.pt" in capsys.readouterr().out
    assert main(["compare", "a.json", "vs"]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["compare"], 2, "at least two"),
        (["compare", "a.json"], 2, "a.json alone was given"),
        (["compare", "vs", "a.json"], 2, "RS620"),
        (["compare", "a.json", "b.json", "--align", "order"], 2, "unknown alignment 'order'"),
        (["compare", "a.json", "b.json", "--format", "parquet"], 2, "unknown output format of a comparison"),
        (["compare", "a.json", "b.json", "-o", "x.parquet"], 2, "its suffix names no output format"),
        (["compare", "a.json", "cut.json"], 3, "cut.json: not a report"),
        (["compare", "a.json", "old.json"], 3, "schema 'rankscope.report/0'"),
        (["compare", "a.json", "missing.json"], 3, "missing.json was not read"),
        (["compare", "a.json", "odd.json"], 3, "odd.json: not a report"),
        (["compare", "a.json", "other.json"], 3, "inputs.sha256"),
        (["compare", "a.json", "no-such-model"], 3, "model B, no-such-model"),
    ],
)
def test_what_is_wrong_is_told(
    saved: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    text = Path("a.json").read_text(encoding="utf-8")
    Path("cut.json").write_text(text[: len(text) // 2], encoding="utf-8")
    Path("old.json").write_text(text.replace("rankscope.report/1", "rankscope.report/0"), encoding="utf-8")
    Path("other.json").write_text(text.replace("ab" * 32, "cd" * 32), encoding="utf-8")
    data = json.loads(text)
    data["rows"][0]["samples"] = ["many"]
    Path("odd.json").write_text(json.dumps(data), encoding="utf-8")
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert told in " ".join(err.split())
    assert "Traceback" not in err


def test_a_report_stands_beside_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, side = tmp_path / "a.json", tmp_path / "side.json"
    assert main(["probe", TINY, "--measures", "mu_bar", "-o", str(report), "-q"]) == 0
    capsys.readouterr()
    command = ["compare", str(report), "vs", f"{TINY},skip=off", TINY, "--measures", "mu_bar", "-q"]
    assert main([*command, "-o", str(side), "--format", "json"]) == 0
    found = json.loads(side.read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out) == found
    assert [subject["letter"] for subject in found["subjects"]] == ["A", "B", "C"]
    assert found["subjects"][0]["forward_seconds"] is None
    assert found["subjects"][1]["forward_seconds"] > 0
    assert {subject["parameters"] for subject in found["subjects"]} == {found["subjects"][0]["parameters"]}
    assert found["pairs"][1]["first_unequal"] is None


def test_saved_reports_need_no_torch(saved: list[str]) -> None:
    code = (
        "import sys; from rankscope.cli import main; main(sys.argv[1:]);"
        "print(sorted({'torch', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    arguments = [sys.executable, "-c", code, "compare", *saved]
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60, env=where)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""


@pytest.mark.parametrize(
    "flags",
    [
        ["--dtype", "float64"],
        ["--seed", "3"],
        ["--input", "nofile"],
        ["--layers", "x*"],
        ["--arch", "net.py:Net"],
        ["--device", "cuda:7"],
        ["--measures", "mu"],
        ["--config", "nofile.toml"],
    ],
)
def test_options_that_would_do_nothing_are_refused(
    saved: list[str], capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert main(["compare", *saved, *flags]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"{flags[0]} would do nothing" in told
    assert "RS103" in told


@pytest.mark.parametrize(
    "command",
    [
        ["compare", "a.json", "b.json", "-o", "a.json"],
        ["compare", "a.json", "./b.json", "-o", "side.csv", "-o", "sub/../b.json"],
        ["compare", "a.json", "link.json", "-o", "b.json"],
        ["report", "a.json", "-o", "a.json"],
        ["report", "b.json", "a.json", "-o", "a.json", "--format", "csv"],
        ["check", "a.json", "--min", "mu_bar=0.01", "-o", "a.json"],
        ["probe", TINY, "--input", "b.json", "-o", "b.json"],
    ],
)
def test_no_output_overwrites_what_is_read(
    saved: list[str], capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    Path("link.json").symlink_to("b.json")
    Path("sub").mkdir()
    before = [Path(name).read_bytes() for name in saved]
    assert main(command) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "would be overwritten [RS609]" in told
    assert "-o " in told
    assert [Path(name).read_bytes() for name in saved] == before
    assert not Path("side.csv").exists()


def test_an_output_of_the_name_of_another_file_is_written(saved: list[str]) -> None:
    Path("sub").mkdir()
    assert main(["compare", *saved, "-o", "sub/a.json"]) == 0
    assert main(["compare", *saved, "-o", "sub/a.json"]) == 0  # an earlier result may be written again


def test_inputs_of_a_saved_report_go_before_those_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["probe", TINY, "-o", "a.json", "-q", "--random", "ids=2x8:int64:0..255", "--measures", "mu_bar"]
    assert main(words) == 0
    Path("rankscope.toml").write_text(
        f"random = 'ids=2x16:int64:0..255'\nmeasures = ['mu_bar']\nmodels = {{ small = '{TINY}', before = 'a.json' }}"
    )
    capsys.readouterr()
    assert main(["compare", "before", "vs", "small"]) == 0
    err = capsys.readouterr().err
    assert "from the configuration: measures (" in err
    assert "ids=2x16" not in err
