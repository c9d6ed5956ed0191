from __future__ import annotations

import importlib
import json
import math
import os
import platform
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from chromium import BROWSER, DRIVER

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


def test_hook_overhead_gives_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    command = (
        "hook_overhead.py --model zoo:transformer,depth=2,width=16,heads=2 --random ids=2x8:int64:0..255 --repeats 2"
    )
    monkeypatch.setattr(sys, "argv", [*command.split(), "--measures", "mu_bar", "--out", str(out)])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / "benchmarks" / "hook_overhead.py"), run_name="__main__")
    assert done.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == result
    assert (result["layers"], result["tokens"], result["repeats"]) == (3, 16, 2)
    assert result["ratio"] == result["probe_s"]["median"] / result["plain_s"]["median"] > 0


def test_the_pages_are_made_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["html_page.py", "--depth", "2", "--repeats", "1", "--out", str(out)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / "benchmarks" / "html_page.py"), run_name="__main__")
    assert done.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == result
    assert (result["layers"], result["models"]) == (2, 3)
    assert set(result["pages"]) == {"reports", "comparison", "findings"}
    for page in result["pages"].values():
        assert page["bytes"] > 10_000
        assert page["page_s"]["median"] > 0
        if BROWSER and DRIVER:
            assert page["browser"]["first_paint_s"] > 0


# -- the run -----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    """The benchmark sets the threads of torch."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def bench(name: str) -> Any:
    """A module of the benchmark; `make bench` runs from the root, where it lies."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The numbers of a run in small, as `python -m benchmarks` writes them."""
    out = tmp_path_factory.mktemp("bench") / "2026-01-31-cpu.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "2", "--threads", "1", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "tiny models in place of those named below" in done.stdout
    assert "MISSED" not in done.stdout, "no target is about tiny models"
    return out


def test_the_run_gives_every_part(smoke: Path) -> None:
    report = json.loads(smoke.read_text(encoding="utf-8"))
    assert set(report) == {"benchmark", "date", "rankscope", "machine", "options", "model", "results", "lines"}
    assert {"cpu", "cores", "threads", "torch"} <= set(report["machine"])
    assert report["machine"]["threads"] == 1
    results = report["results"]
    assert set(results) == {"spectra", "took", *bench("__main__").PARTS}
    for name, (_, contenders) in bench("__main__").IN_TURN.items():
        assert set(results["timing"][name]) == set(contenders)
        assert all(len(times) == 2 and min(times) > 0 for times in results["timing"][name].values())
    for found in results["once"].values():
        assert found["seconds"] > 0
        assert found["peak"] > 50e6  # torch alone is larger
    assert all(entry["auto"] <= entry["limit"] for entry in results["accuracy"])
    assert all(min(entry["floor"], entry["measured"]) > 0 for entry in results["floor"])
    assert [point["at"] for point in results["growth"]["axes"]["depth"]] == [2, 3]
    assert not [word for word in (str(Path.home()), platform.node(), str(ROOT)) if word in smoke.read_text()]


def test_lines_say_what_is_compared_and_what_was_measured(smoke: Path) -> None:
    lines = json.loads(smoke.read_text(encoding="utf-8"))["lines"]
    named = {line["what"]: line for line in lines}
    assert len(named) == len(lines)
    assert all(line["compared"] for line in lines)
    assert named["effective rank against a float64 SVD"]["met"] is True
    assert named["peak memory of `forward` over the plain forward"]["measured"] > 0
    missing = named["delve: extra time over ours"]  # left out of a run in small
    assert (missing["measured"], missing["met"]) == (None, False)


def test_a_miss_fails_the_run_where_that_is_asked_for(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, targets = bench("__main__"), bench("targets")
    report = json.loads(smoke.read_text(encoding="utf-8"))
    report["options"]["quick"] = False
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(report), encoding="utf-8")

    def judged(limit: float | None, *flags: str) -> int:
        fake = targets.Target("fake", "nothing", lambda results: float(results["spectra"]), limit)
        monkeypatch.setattr(main, "CPU", (fake,))
        return int(main.main(["--read", str(whole), *flags]))

    assert judged(0.5, "--assert") == 1
    assert "MISSED" in capsys.readouterr().out
    assert judged(0.5) == 0
    assert judged(1e9, "--assert") == 0
    assert judged(math.nan, "--assert") == 1  # no number lies below it
    assert judged(None, "--assert") == 0


def test_what_was_not_measured_is_a_miss_and_never_a_number() -> None:
    targets = bench("targets")
    found = targets.lines(targets.CPU, {})
    assert all(line.measured is None for line in found)
    assert len(targets.missed(found)) == sum(target.limit is not None for target in targets.CPU) >= 14


@pytest.mark.parametrize(
    ("peer", "ours", "expected"), [(4.0, 2.0, 3.0), (0.9, 2.0, None), (4.0, 0.9, None), (4.0, 1.0, None)]
)
def test_extra_time_that_the_noise_hides_is_not_measured(peer: float, ours: float, expected: float | None) -> None:
    once = {
        "torchlens 8×512": {"plain": 1.0, "seconds": peer, "trace_s": peer},
        "same 8×512": {"plain": 1.0, "seconds": ours},
    }
    found = {line.what: line for line in bench("targets").lines(bench("targets").CPU, {"once": once})}
    line = found["TorchLens: extra time over ours"]
    assert (line.measured, line.met) == (expected, False)


def test_ratios_are_of_the_same_round() -> None:
    timing = bench("timing")
    found = {"plain": [1.0, 10.0, 1.0], "ours": [1.5, 15.0, 2.0], "naive": [2.0, 20.0, 1.5]}
    assert timing.ratio(found, "ours", "plain") == 1.5
    assert timing.extra(found, "ours") == 1.0
    assert timing.extra_ratio(found, "ours", "naive") == 0.5
    assert timing.extra_ratio(found | {"naive": [0.5, 20.0, 1.5]}, "ours", "naive") is None  # it had no extra time


def test_a_probe_is_held_against_its_parts_of_the_same_round() -> None:
    targets = bench("targets")
    timed = {"plain": [1.0, 10.0, 2.0], "spectra": [1.0, 10.0, 2.0], "forward": [3.0, 22.0, 8.0]}
    found = {line.what: line.measured for line in targets.lines(targets.CPU, {"timing": {"8×512": timed}})}
    assert found["probe `forward` / its parts, 8×512"] == 1.5
    assert found["probe `forward` / its parts, 4×1024"] is None


# -- contenders --------------------------------------------------------------------------------------------------------


def test_the_naive_hook_has_our_numbers_and_leaves_no_hook() -> None:
    contenders, setting = bench("contenders"), bench("setting")
    job = setting.Job(setting.Setting(3, 20, batches=2, depth=2, width=16, heads=2, vocab=64))
    naive = contenders.naive(job)
    assert set(naive) == {(layer, sequence) for layer in range(3) for sequence in range(6)}
    ours = contenders.numbers(contenders.ours(*contenders.SAME)(job))
    assert contenders.disagreement(ours, naive) < bench("targets").TOLERANCE
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in job.model.modules())


def test_the_run_compares_the_numbers_of_the_naive_hook() -> None:
    found = bench("once").here("naive", bench("setting").TINY, 1)
    assert 0 < found["disagreement"] < bench("targets").TOLERANCE


def test_numbers_that_differ_or_are_missing_disagree() -> None:
    disagreement = bench("contenders").disagreement
    one = {(0, 0): (1.0, 2.0), (0, 1): (3.0, 4.0)}
    assert disagreement(one, one) == 0
    assert disagreement(one | {(0, 1): (3.0, 5.0)}, one) == 0.25
    assert disagreement(one, {(0, 0): (1.0, 2.0)}) == math.inf
    assert disagreement(one | {(0, 1): (3.0, math.nan)}, one) == math.inf
    assert disagreement({}, {}) == math.inf


def test_rankme_is_computed_at_every_block() -> None:
    setting = bench("setting")
    assert bench("contenders").CONTENDERS["rankme"](setting.Job(setting.TINY))["layers"] == 2


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for a contender that fails is a shell script")
@pytest.mark.parametrize(
    ("script", "told"), [("echo 'No module named peer' >&2; exit 1", "No module named peer"), ("exit 137", "137")]
)
def test_a_contender_that_cannot_be_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    once = bench("once")
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\n{script}\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(once.sys, "executable", str(stand_in))
    assert told in once.once("delve", bench("setting").TINY, 1)["failed"]


def test_a_nan_among_errors_is_the_worst_of_them() -> None:
    worst = bench("timing").worst
    assert math.isnan(worst([1e-9, math.nan]))
    assert math.isnan(worst([math.nan, 1e-9]))
    assert worst([1e-9, 1e-7]) == 1e-7


def test_the_floor_counts_what_spectra_cost() -> None:
    setting, floor = bench("setting"), bench("floor")
    counts = floor.counted(setting.Setting(8, 512, depth=12, width=768))
    matrices = 8 * 13
    assert counts["gram_flops"] == matrices * 512 * 513 * 768
    assert counts["tridiagonal_flops"] == pytest.approx(matrices * 2 * 4 / 3 * 512**3)
    assert counts["vector_bytes"] == pytest.approx(matrices * 2 * 8 * 512**3 / 6)
    assert floor.counted(setting.Setting(8, 768, width=512))["gram_flops"] == counts["gram_flops"]


def test_time_that_the_host_gave_to_others_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, page = bench("machine"), bench("page")
    monkeypatch.setattr(machine, "taken", lambda: (30, 200))
    assert machine.share_taken((10, 100)) == 0.2
    assert machine.share_taken((30, 200)) is None
    assert machine.share_taken(None) is None
    assert page._machine({"cpu": "x", "taken": 0.2}) == "cpu x. The host gave 20% of the processors' time to others."
    assert page._machine({"cpu": "x", "taken": None}) == "cpu x."


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not tell")
def test_the_system_tells_what_was_taken() -> None:
    steal, wanted = bench("machine").taken()
    assert 0 <= steal < wanted


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_has_the_latest_numbers_and_keeps_what_was_written_by_hand(smoke: Path, tmp_path: Path) -> None:
    page = bench("page")
    file, results = tmp_path / "performance.md", tmp_path / "results"
    results.mkdir()
    page.main(results, tmp_path)
    assert "Not measured yet" in file.read_text()
    assert "not measured" in file.read_text()
    file.write_text(file.read_text().replace(page.BY_HAND, "Because of the cache.\n"))
    report = json.loads(smoke.read_text(encoding="utf-8"))
    for day in ("2026-01-02", "2026-01-31"):
        (results / f"{day}-cpu.json").write_text(json.dumps(report | {"date": day}))
    page.main(results, tmp_path)
    text = file.read_text()
    assert "2026-01-31, rankscope" in text
    assert "2026-01-02" not in text
    assert "Because of the cache.\n" in text
    assert text.count("| **MISSED** |") + text.count("| met |") >= 5
    assert {len(line.split("|")) for line in text.splitlines() if line.startswith("| ")} == {5, 7}
    assert "| rankscope, `forward` | " in text
    picture = ET.parse(tmp_path / "performance.svg").getroot()
    assert len([path for path in picture.iter() if path.get("class", "").startswith("line")]) == 4


def test_the_page_in_docs_is_up_to_date(tmp_path: Path) -> None:
    page = bench("page")
    (tmp_path / "performance.md").write_text((page.DOCS / "performance.md").read_text())
    page.main(page.RESULTS, tmp_path)
    for name in ("performance.md", "performance.svg"):
        made, there = tmp_path / name, page.DOCS / name
        assert made.exists() == there.exists()
        assert not made.exists() or made.read_text() == there.read_text(), "run: make bench-page"


# -- CUDA --------------------------------------------------------------------------------------------------------------


def test_without_a_device_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench("cuda").main([]) == 3
    told = capsys.readouterr()
    assert "no CUDA device" in told.err
    assert told.out == ""


def test_the_work_for_a_device_runs_on_any() -> None:
    cuda, setting, targets = bench("cuda"), bench("setting"), bench("targets")
    settings = {name: setting.Setting(2, 16, 2, depth=2, width=24, heads=2, vocab=64) for name in ("8×512", "64×512")}
    results = cuda.measured(torch.device("cpu"), (3, 24, 32), settings, 2)
    lines = targets.lines(cuda.TARGETS, results)
    assert all(line.measured is not None for line in lines)
    assert all(entry["difference"] == 0 for entry in results["agreement"])
