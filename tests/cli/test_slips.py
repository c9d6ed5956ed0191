"""Slips are told at once: none of these loads torch, and each says what the full check would have said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reports import a_report

from rankscope.cli import main
from rankscope.renderers import save
from rankscope.sources import LoadOptions, open_model
from rankscope.specs import check_model

ROOT = Path(__file__).resolve().parents[2]
CASES: list[tuple[list[str], int, str]] = [
    (["probe", "no.pt"], 3, "RS310"),
    (["probe", "runs/net:Net"], 3, "RS310"),
    (["probe", "net.py:Net"], 3, "RS310"),
    (["probe", "own"], 3, "RS310"),  # an alias of a file that is not there
    (["probe", "no.pt", "--allow", "x"], 2, "RS361"),
    (["probe", "no.pt", "--trust-sha256", "x"], 2, "RS366"),
    (["probe", "zoo:typo"], 2, "RS101"),
    (["probe", "zoo:transformer,dept=3"], 2, "RS101"),
    (["probe", "zoo:transformer,depth=x"], 2, "RS351"),
    (["probe", "zoo:transformer,norm=x"], 2, "RS101"),
    (["probe", "zoo:transformer,3"], 2, "RS350"),
    (["probe", "demo:typo"], 2, "RS101"),
    (["probe", "baseline", "--weights", "no.pt"], 3, "RS310"),
    (["probe", "a.json", "--arch", "zoo:typo"], 2, "RS101"),
    (["probe", "a.json", "--arch", "net.py:Net"], 3, "RS310"),
    (["probe", "baseline", "--input", "no.npz"], 3, "RS204"),
    (["probe", "baseline", "--text", "no.txt"], 3, "RS204"),
    (["probe", "baseline", "--measures", "mu,typo"], 2, "RS101"),
    (["probe", "baseline", "--loss", "typo"], 2, "RS101"),
    (["check", "no.pt", "--min", "mu=1"], 3, "RS310"),
    (["compare", "a.json", "vs", "no.pt"], 3, "model  B, no.pt"),
    (["inspect", "no.pt"], 3, "RS310"),
]
SCRIPT = """
import contextlib, io, json, sys
from rankscope.cli import main
found = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(arguments)
    found.append((code, said.getvalue(), "torch" in sys.modules))
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(a_report(depth=2), Path("a.json"))
    Path("rankscope.toml").write_text("models = { own = 'gone.pt', round = 'round' }")


def test_slips_are_told_without_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([arguments for arguments, _, _ in CASES])],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for (arguments, code, word), (given, said, heavy) in zip(CASES, json.loads(done.stdout), strict=True):
        assert (given, heavy) == (code, False), (arguments, said)
        assert word in said, (arguments, said)


MODELS: list[tuple[str, dict[str, Any]]] = [
    (arguments[1], {arguments[i][2:].replace("-", "_"): arguments[i + 1] for i in range(2, len(arguments), 2)})
    for arguments, _, _ in CASES
    if arguments[0] == "probe" and not {"--input", "--text", "--measures", "--loss"} & set(arguments)
]


@pytest.mark.parametrize(("model", "flags"), MODELS)
def test_what_is_told_early_is_what_is_told_of_an_opened_model(model: str, flags: dict[str, Any]) -> None:
    aliases = {"own": "gone.pt"}
    flags = {
        name: (text,) if name == "allow" else Path(text) if name == "weights" else text for name, text in flags.items()
    }
    with pytest.raises(Exception, match="RS") as early:
        check_model(model, flags, aliases)
    if model == "a.json" or "weights" in flags:
        return  # what is opened first is refused for more than the slip
    with pytest.raises(type(early.value)) as late:
        open_model(model, LoadOptions(**flags, aliases=aliases))
    assert str(late.value) == str(early.value)


OPEN = (
    "zoo:lambda_skip,lam=1,2,depth=2,mlp=off,seed=3 demo:baseline baseline a.json hf:org/name timm:vit pkg:make round"
)


@pytest.mark.parametrize("model", [*OPEN.split(), "foo:bar-baz"])
def test_what_may_be_a_model_is_let_pass(model: str) -> None:
    check_model(model, {"allow": ("mypkg.*",), "trust_sha256": "0" * 64, "arch": "pkg:Net"}, {"round": "round"})


def test_saved_reports_ask_for_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a.json", "vs", "a.json"]) == 0
    capsys.readouterr()
