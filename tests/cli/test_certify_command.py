"""`rankscope certify` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rankscope
from rankscope.certificate.reading import load_certificate
from rankscope.cli import main
from rankscope.renderers import CERTIFICATES

STRONG = ["certify", "zoo:lambda_skip,depth=3,width=16,lam=128", "--random", "ids=2x32:int64:0..255"]


def test_the_table_and_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    assert main([*STRONG, "-o", "found.json", "-o", "found.html", "--retain", "0.95"]) == 0
    out, err = capsys.readouterr()
    assert "the additive certificate holds (0.95 of mu a block" in " ".join(out.split())
    assert "RS501" in err
    data = json.loads(Path("found.json").read_text())
    assert data["schema"] == "rankscope.certificate/1"
    assert data["retain"] == 0.95
    assert data["stacks"][0]["blocks"][0]["lambdas"] == {"lambda": 128.0}


def test_an_edited_model_and_a_slip_in_its_edit(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["certify", "zoo:lambda_skip,depth=3,width=16+lambda_skip=128", *STRONG[2:]]
    assert main([*line, "-q", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["model"]["edits"] == ["lambda_skip=128: 3 residual adds in 3 layers"]
    assert {step["lam"] for step in data["stacks"][0]["sequences"][0]["steps"]} == {128.0}
    assert main([*line, "-q"]) == 0
    assert "lambda_skip=128: 3 residual adds in 3 layers" in " ".join(capsys.readouterr().out.split())
    assert main(["certify", "zoo:lambda_skip+lambda_skp=2"]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert main(["certify", "zoo:lambda_skip,depth=3+lambda_skip=2@9", *STRONG[2:]]) == 3
    assert "RS451" in capsys.readouterr().err


def test_json_goes_to_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*STRONG, "--a", "0.25", "--format", "json", "-q"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["retain"] == 0.5
    assert err == ""


def test_nothing_certified_is_no_failure_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["certify", "zoo:transformer,depth=2,width=16,skip=off", "--random", "ids=1x16:int64:0..255", "-q"]) == 0
    )
    assert "no certificate applies" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "code", "told"),
    [
        (["--retain", "1"], 2, "RS480"),
        (["--a", "-0.1"], 2, "RS480"),
        (["--a", "0.5", "--retain", "0.5"], 2, "RS481"),
        (["--measures", "mu"], 2, "No such option"),
        (["--retain", "much"], 2, "RS102"),
        (["-o", "found.parquet"], 2, "RS604"),
        (["--random", "ids=1x2:int64:0..255"], 3, "RS482"),
        (["--layers", "nowhere"], 3, "RS422"),
    ],
)
def test_slips_and_what_cannot_be_measured(
    extra: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = STRONG[:2] + (extra if "--random" in extra else [*STRONG[2:], *extra])
    assert main(line) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err


def test_a_saved_certificate_is_told_from_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"
    assert main([*STRONG, "-q", "-o", str(path)]) == 0
    assert main(["report", str(path), str(path)]) == 3
    err = capsys.readouterr().err
    assert "not a report, but a certificate" in err
    assert "Show the certificate:  rankscope report" in err


def test_a_saved_certificate_is_rendered_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    made = rankscope.certify("zoo:lambda_skip,depth=2,width=16,lam=64", random="ids=2x16:int64:0..255")
    made.save(path)
    assert load_certificate(path) == made
    assert main(["report", str(path), "--format", "md", "-o", str(tmp_path / "c.csv")]) == 0
    assert capsys.readouterr().out == CERTIFICATES["md"].text(made)
    assert (tmp_path / "c.csv").read_text().count("\n") == 1 + len(made.lines())
    assert main(["certify", str(path)]) == 3
    assert "It is a certificate; to show it:  rankscope report" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"schema": "rankscope.certificate/2"}, "RS603"),
        ({"stacks": [{}]}, "RS602"),
        ({"stacks": 3}, "RS602"),
        ({"notes": [3]}, "RS602"),
        ({"model": None, "stacks": [{"stack": "", "sentence": "", "blocks": [], "sequences": []}]}, "RS602"),
    ],
)
def test_a_certificate_that_no_version_writes_is_refused(
    change: dict[str, object], code: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "c.json"
    rankscope.certify("zoo:lambda_skip,depth=1,width=16", random="ids=1x16:int64:0..255").save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert main(["report", str(path)]) == 3
    assert code in capsys.readouterr().err
