from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from reports import a_hostile_report, a_report, undefined_report

from rankscope.cli import main
from rankscope.renderers import RENDERERS, Style, load, save

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    reports = [a_report(depth=2, spec="a.pt"), replace(a_report(depth=3, spec="b.pt"), created="2026-01-01T00:00:00Z")]
    for name, report in zip(("a.json", "b.json"), reports, strict=True):
        save(report, Path(name))
    return ["a.json", "b.json"]


def test_one_report_in_every_format_of_text(saved: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    report = load("a.json")
    for name in ("table", "csv", "json", "jsonl", "md"):
        assert main(["report", "a.json", "--format", name]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert out == RENDERERS[name].text(report, Style(columns=80))


def test_several_follow_each_other_on_the_screen(saved: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *saved]) == 0
    out = capsys.readouterr().out
    assert out.index("a.pt (") < out.index("─" * 80) < out.index("b.pt (")
    assert main(["report", *saved, "--format", "md"]) == 0
    assert capsys.readouterr().out.count("## rankscope") == 2


def test_rows_of_several_are_joined_with_their_model(saved: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *saved, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0])[:3] == ["model", "created", "stack"]
    assert [row["model"] for row in rows] == [load(name).model["spec"] for name in saved for _ in load(name).rows]
    assert main(["report", *saved, "--format", "csv", "--wide"]) == 0
    wide = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["model"] for row in wide] == ["a.pt"] * 3 + ["b.pt"] * 4
    assert wide[0]["mu_bar"]
    assert main(["report", *saved, "--format", "jsonl"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_files_are_written_by_suffix(saved: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *saved, "-o", "all.csv", "-o", "all.md", "-o", "all.jsonl", "-o", "all.txt"]) == 0
    assert "a.pt" in capsys.readouterr().out
    for name in ("all.csv", "all.md", "all.jsonl", "all.txt"):
        assert "b.pt" in Path(name).read_text()
    assert main(["report", "a.json", "-o", "again.json"]) == 0
    assert load("again.json") == load("a.json")


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["a.json", "b.json", "--format", "json"], "RS608", 2),
        (["a.json", "b.json", "-o", "all.csv", "-o", "all.json"], "RS608", 2),
        (["a.json", "-o", "."], "RS601", 2),
        (["a.json", "-o", "r.xlsx"], "RS604", 2),
        (["a.json", "--format", "parquet"], "RS60", 2),
        (["a.json", "--format", "jsn"], "RS101", 2),
        (["a.json", "--wide"], "RS103", 2),
        (["a.json", "--wide", "-o", "r.md", "--format", "jsonl"], "RS103", 2),
        ([], "RS102", 2),
        (["none.json"], "RS605", 3),
        (["."], "RS605", 3),
        (["broken.json"], "RS602", 3),
        (["a.json", "broken.json"], "RS602", 3),
    ],
)
def test_what_does_not_work_is_told(
    saved: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], code: str, exit_code: int
) -> None:
    Path("broken.json").write_text(Path("a.json").read_text()[:500])
    before = set(Path().iterdir())
    assert main(["report", *arguments]) == exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert f"[{code}" in err
    assert set(Path().iterdir()) == before


def test_a_folder_as_output_names_a_file_in_it(saved: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs").mkdir()
    assert main(["report", "a.json", "-o", "runs"]) == 2
    assert "-o runs/report.json" in capsys.readouterr().err


def test_hostile_and_undefined_reports_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(a_hostile_report(), Path("h.json"))
    save(undefined_report(), Path("u.json"))
    assert main(["report", "h.json", "u.json"]) == 0
    out = capsys.readouterr().out
    assert "undefined" in out
    assert "\x1b" not in out


def test_torch_is_not_loaded(tmp_path: Path) -> None:
    save(a_report(depth=2), tmp_path / "r.json")
    script = (
        "import sys; from rankscope.cli import main; "
        f"code = main(['report', {str(tmp_path / 'r.json')!r}, '-o', {str(tmp_path / 'r.csv')!r}]); "
        "print(code, sorted({'torch', 'pandas', 'scipy', 'jinja2'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0 []"
    assert json.loads((tmp_path / "r.json").read_text())["schema"]


def test_a_file_that_may_not_be_read_is_told_by_who_opens_it(
    saved: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr(Path, "read_text", denied)
    assert main(["report", "a.json"]) == 3
    assert "Look what is there:  ls -l ." in capsys.readouterr().err
