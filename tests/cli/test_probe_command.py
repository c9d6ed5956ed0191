from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import click
import pytest
from fakes import Calls, modules
from reports import a_report

from rankscope.cli import _slips, main
from rankscope.cli._command import Option
from rankscope.cli._terminal import Terminal
from rankscope.cli.probe import command
from rankscope.renderers import load

FAKES = Path(__file__).with_name("fakes.py")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    found = Calls()
    for name, module in modules(found).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(_slips, "check", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return found


def run(act: str, *arguments: str, **settings: object) -> subprocess.Popen[bytes]:
    """The command line over the stand-ins in a process of its own."""
    tests = FAKES.parents[1]
    places = {"PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    environment = {**os.environ, **places, **settings.pop("env", {})}  # type: ignore[dict-item]
    line = [sys.executable, str(FAKES), act, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    return subprocess.Popen(line, env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


def test_the_table_goes_to_stdout_and_the_rest_to_stderr(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "model.pt"]) == 0
    out, err = capsys.readouterr()
    assert "healthy: the tokens stay apart" in out
    assert err.splitlines() == ["note: taken as \ufffd[31mthe alias [RS340]", "note: inputs were inferred [RS240]"]


def test_every_flag_reaches_its_part(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "--arch net:Net --weights w.pt --strip-prefix module. --init-only --input x.npz --random x=1x2 --random y=3 "
        "--text t.txt --text-field body --tokenizer tok --inputs m:f --batches 3 --batch-size 4 --max-tokens 5 "
        "--seed 0 --mask none --mask-sense drop --layout tbd --measures mu,mu_bar --layers a.* --layers b "
        "--skip-layers c --device cuda:1 --dtype bfloat16 --loss lm --grad-tokens 7 --spectra svd"
    )
    assert main(["probe", "m", *arguments.split()]) == 0
    assert calls.model == "m"
    assert calls.load == {
        "arch": "net:Net",
        "weights": Path("w.pt"),
        "strip_prefix": "module.",
        "init_only": True,
        "seed": 0,
        "aliases": {},
    }
    assert calls.inputs == {
        "input": Path("x.npz"),
        "random": ("x=1x2", "y=3"),
        "text": Path("t.txt"),
        "text_field": "body",
        "tokenizer": Path("tok"),
        "inputs": "m:f",
        "batches": 3,
        "batch_size": 4,
        "max_tokens": 5,
        "seed": 0,
        "mask": "none",
        "mask_sense": "drop",
        "layout": "tbd",
    }
    assert calls.measure == {
        "measures": ("mu", "mu_bar"),
        "layers": ("a.*", "b"),
        "skip_layers": ("c",),
        "device": "cuda:1",
        "dtype": "bfloat16",
        "loss": "lm",
        "grad_tokens": 7,
        "spectra": "svd",
    }


def test_what_was_not_given_keeps_its_default(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "m"]) == 0
    assert (calls.load, calls.inputs, calls.measure) == ({"aliases": {}}, {}, {})


def test_flags_are_the_fields_of_the_options() -> None:
    """The command line and the Python functions mirror each other."""
    from rankscope.inputs import InputOptions
    from rankscope.pipeline import MeasureOptions
    from rankscope.sources import LoadOptions

    def flags(section: str) -> set[str]:
        return {p.name or "" for p in command.params if isinstance(p, Option) and p.section == section}

    assert flags("Model") == {field.name for field in fields(LoadOptions)} - {"aliases", "seed"}
    assert flags("Inputs") == {field.name for field in fields(InputOptions)}
    assert flags("Measuring") == {field.name for field in fields(MeasureOptions)}


def test_outputs_are_written_and_read_back(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["probe", "m", "-o", "r.json", "-o", "r.csv", "--output", "r.md", "-o", "r.data", "--format", "csv"]) == 0
    )
    assert load("r.json") == a_report()
    assert Path("r.csv").read_bytes() == Path("r.data").read_bytes()
    assert Path("r.md").read_text().startswith("## rankscope")
    assert capsys.readouterr().out.encode() == Path("r.csv").read_bytes()


def test_outputs_stay_where_they_were_asked_for(calls: Calls, tmp_path: Path) -> None:
    calls.act = "chdir"
    assert main(["probe", "m", "-o", "r.json"]) == 0
    assert load(tmp_path / "r.json") == a_report()


def test_wide_without_csv_is_told_before_the_work(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "m", "--wide", "-o", "r.json"]) == 2
    assert calls.model == ""
    assert "nothing here is written as CSV" in capsys.readouterr().err
    assert main(["probe", "m", "--wide", "--format", "csv", "-o", "r.unknown"]) == 0


def test_wide_is_for_csv_on_the_screen_and_in_files(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "m", "--wide", "--format", "csv", "-o", "r.csv"]) == 0
    out = capsys.readouterr().out
    assert out == Path("r.csv").read_text()
    assert out.startswith('"stack","layer_index","layer","rank_one_residual_unit"')


def test_format_json_prints_json_alone(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.act = "print"
    assert main(["probe", "m", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["schema"] == "rankscope.report/1"
    assert "the model prints" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-o", "r.xlsx"], "RS604"),
        (["-o", "-", "--format", "json"], "RS102"),
        (["-o", "none/r.json"], "RS601"),
        (["-o", "."], "RS601"),
        (["--format", "jsn"], "RS101"),
        (["--measures", "mu,mu_baar"], "RS101"),
        (["--config", "none.toml"], "RS104"),
        (["--config", "none.toml", "--no-config"], "RS103"),
    ],
)
def test_what_cannot_work_fails_before_the_work(
    calls: Calls, capsys: pytest.CaptureFixture[str], arguments: list[str], code: str
) -> None:
    assert main(["probe", "m", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, calls.model) == ("", "")
    assert f"[{code}]" in err
    assert list(Path().iterdir()) == []


def test_aliases_come_from_the_configuration(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rankscope.toml").write_text("[models]\nmine = 'pkg:build'")
    assert main(["probe", "mine"]) == 0
    assert calls.load["aliases"] == {"mine": "pkg:build"}
    assert main(["probe", "mine", "--no-config"]) == 0
    assert calls.load["aliases"] == {}
    Path("other.toml").write_text("[models]\nmine = 'other:build'")
    assert main(["probe", "mine", "--config", "other.toml"]) == 0
    assert calls.load["aliases"] == {"mine": "other:build"}
    Path("rankscope.toml").write_text("modles = {}")
    assert main(["probe", "mine"]) == 2
    assert "did you mean  models" in capsys.readouterr().err


@pytest.mark.parametrize(("act", "rows"), [("undefined", "none of 53 rows is ok"), ("empty", "no layer gave a row")])
def test_no_number_is_exit_3_with_the_reasons_and_the_report(
    calls: Calls, capsys: pytest.CaptureFixture[str], act: str, rows: str
) -> None:
    calls.act = act
    assert main(["probe", "m", "-o", "r.json"]) == 3
    out, err = capsys.readouterr()
    assert f"error: no number could be had: {rows}" in err
    assert "[RS440]" in err
    assert act == "empty" or ("53 rows  fewer than 4 tokens" in err and "fewer than 4 tokens" in out)
    assert load("r.json").rows == load("r.json").rows


def test_an_interrupt_leaves_nothing(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.act = "interrupt"
    assert main(["probe", "m", "-o", "r.json"]) == 130
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1]) == ("", "interrupted")
    assert list(Path().iterdir()) == []


def test_quiet_says_nothing_and_verbose_shows_all(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "m", "-q"]) == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    assert "note " not in quiet.out
    assert "healthy: " in quiet.out
    assert main(["probe", "m", "-v"]) == 0
    assert "more measures" not in capsys.readouterr().out


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_the_width_of_the_screen_is_kept(
    calls: Calls, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["probe", "m"]) == 0
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= max(columns, 40)


def test_a_bar_on_a_terminal_leaves_nothing_in_the_result(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    for flags, bar in (([], True), (["-q"], False), (["--no-progress"], False)):
        process = run("print", "probe", "m", "--format", "json", *flags, stderr=theirs, cwd=tmp_path)
        out, _ = process.communicate(timeout=20)
        os.write(theirs, b"END")
        screen = b""
        while b"END" not in screen:
            screen += os.read(ours, 65536)
        assert json.loads(out)["schema"] == "rankscope.report/1"
        assert (b"loading torch" in screen) is bar
        assert (b"[/layers] " in screen) is bar
        assert b"the model prints" in screen
    os.close(ours)
    os.close(theirs)


def test_in_one_place_a_note_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Terminal(announced=["inferred"])
    with (tmp_path / "a").open("w") as here, (tmp_path / "a").open("a") as same, (tmp_path / "b").open("w") as apart:
        monkeypatch.setattr(sys, "stdout", here)
        for stream, known in ((same, {"inferred"}), (apart, set()), (io.StringIO(), set())):
            monkeypatch.setattr(sys, "stderr", stream)
            assert told.style(wide=False).announced == known


def test_a_signal_in_the_middle(tmp_path: Path) -> None:
    process = run("sleep", "probe", "m", "-o", "r.json", cwd=tmp_path)
    assert process.stderr is not None
    while b"measuring" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip()) == (130, b"", b"interrupted")
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe(tmp_path: Path) -> None:
    process = run("long", "probe", "m", "--format", "json", "-q", "-o", "r.json", cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert (process.wait(timeout=20), process.stderr.read()) == (141, b"")
    process.stderr.close()
    assert len(load(tmp_path / "r.json").layers) == 301


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full to write to")
def test_a_full_disk_behind_stdout(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = run("report", "probe", "m", "-q", stdout=full, cwd=tmp_path)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert err.startswith(b"error: the standard output cannot be written: No space left on device")


def test_an_ascii_screen(tmp_path: Path) -> None:
    process = run("hostile", "probe", "m", "-q", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")
    assert out.isascii()
    assert b"@#*+=--" in out


def test_the_shown_defaults_are_those_of_the_fields() -> None:
    from rankscope.inputs import InputOptions
    from rankscope.pipeline import MeasureOptions

    helps = {p.name: p.help or "" for p in command.params if isinstance(p, click.Option)}
    for name, kind in (("batch_size", InputOptions), ("max_tokens", InputOptions), ("seed", InputOptions)):
        assert f"({kind().__getattribute__(name)})" in helps[name]
    assert f"({MeasureOptions().grad_tokens})" in helps["grad_tokens"]
