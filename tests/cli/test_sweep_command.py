from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from swept import IDS, TINY

from rankscope.cli import main
from rankscope.sweeps import read_sweep

ROOT = Path(__file__).resolve().parents[2]
GIVEN = ["--random", IDS, "--measures", "mu_bar", "--no-config"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def test_a_sweep_is_shown_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = ["-o", "s.json", "-o", "s.csv", "-o", "s.md", "-o", "s.html", "-o", "r/"]
    assert main(["sweep", TINY, "--edit", "lambda_skip=0:4:3", *GIVEN, *outputs]) == 0
    out, err = capsys.readouterr()
    assert "mu_bar at the last layer against lambda_skip" in out
    assert [line.partition(":")[0] for line in err.splitlines() if "mu_bar" in line] == [
        "as it is",
        "1/3 lambda_skip=0",
        "2/3 lambda_skip=2",
        "3/3 lambda_skip=4",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r", "s.csv", "s.html", "s.json", "s.md"]
    assert len(list((tmp_path / "r").iterdir())) == 5
    assert len(read_sweep("s.json").points) == 3
    assert main(["sweep", TINY, "--edit", "lambda_skip=0:4:3", *GIVEN, "-o", "s.json", "-q"]) == 0
    again, err = capsys.readouterr()
    assert err == ""
    assert "3 of 3 points were measured by an earlier run" in again


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--edit", "lambda_skip=1:2:0"], 2, "RS470"),
        (["--edit", "lambda_skip=nan,1"], 2, "RS470"),
        (["--edit", "lambda_skp=1:2:3"], 2, "did you mean  lambda_skip"),
        (["--edit", "no_skip=1:2:3"], 2, "RS130"),
        (["--edit", "lambda_skip=1:2:3@0"], 2, "RS131"),
        ([], 2, "RS471"),
        (["--edit", "lambda_skip=1:2:3", "--until", "mu_baar >= 0.3"], 2, "mu_bar"),
        (["--edit", "no_skip@*", "--until", "mu_bar >= 0.3"], 2, "RS475"),
        (["--edit", "lambda_skip=1:2:3", "--per-layer"], 2, "RS475"),
        (["--over", "dept=1:3"], 2, "did you mean  depth"),
        (["--edit", "lambda_skip=1:2:3", "-o", "no/s.json"], 2, "RS601"),
        (["--edit", "lambda_skip=1:2:3", "-o", "s.xyz"], 2, "RS604"),
        (["--edit", "lambda_skip=1:2:3", "-o", "-"], 2, "is no file"),
        (["--edit", "lambda_skip=1:2:3", "--jobs", "0"], 2, "--jobs"),
        (["--edit", "lambda_skip=1:2:3", "--format", "pdf"], 2, "RS101"),
    ],
)
def test_slips(arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["sweep", TINY, *arguments, *GIVEN]) == code
    assert told in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_an_edit_that_finds_no_layer_anywhere_could_not_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", TINY, "--edit", "lambda_skip=1,2@9", *GIVEN]) == 3
    out, err = capsys.readouterr()
    assert "none of 2 points could be measured" in err
    assert "RS477" in err
    assert "not measured" in out


def test_the_exit_code_of_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sweep", TINY, "--edit", "lambda_skip=1,2", *GIVEN, "-q"]
    assert main([*arguments, "--until", "mu_bar >= 0.001"]) == 0
    assert "holds without any edit" in capsys.readouterr().out
    assert main([*arguments, "--until", "mu_bar > 2"]) == 1
    assert "no value that was tried keeps it" in capsys.readouterr().out


def test_help_and_slips_load_no_torch() -> None:
    script = "import sys; from rankscope.cli import main; code = main(sys.argv[1:]); assert 'torch' not in sys.modules"
    for arguments in (["--help"], ["m.pt", "--edit", "lambda_skip=1:2:0"], ["m.pt", "--edit", "lambda_skip=1:2:3"]):
        done = subprocess.run(
            [sys.executable, "-c", script, "sweep", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="signals are sent as on Unix")
def test_an_interrupted_run_leaves_whole_files(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "rankscope",
        "sweep",
        TINY,
        "--edit",
        "lambda_skip=0:2000:2001",
        *GIVEN,
        "-o",
        "s.json",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("5/2001"):
            break
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["planned"] == 2001
    assert 5 <= len(found["points"]) < 2001
    assert all(point["report"]["rows"] for point in found["points"])
