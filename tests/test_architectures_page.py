"""docs/architectures.md is what the probes say today, its words are true of its numbers, and its tests are there."""

from __future__ import annotations

import copy
import importlib.util
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from rankscope.zoo import check_spec

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "architectures"
WORDS = {"reproduced", "reproduced in part", "not reproduced", "not tried"}


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("architectures_of_the_docs", ROOT / "docs" / "architectures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGE = loaded()
TEXTS = PAGE.texts()
MEASURED = PAGE.stored()
CLAIMS = [(name, claim) for name, text in TEXTS.items() for claim in text["claims"]]


def last(spec: str) -> float:
    value: float = MEASURED[spec]["mu_bar"][-1]
    return value


def test_page_and_figures_are_made_of_what_was_measured() -> None:
    for name, text in PAGE.files(MEASURED).items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, f"docs/{name}: run `make docs`"


def test_every_architecture_has_its_section_and_nothing_else_has() -> None:
    names = [entry.name for entry in PAGE.architectures()]
    assert sorted(TEXTS) == names
    assert sorted(path.stem for path in FOLDER.glob("*.svg")) == names
    assert list(MEASURED) == PAGE.wanted(TEXTS)
    for spec in MEASURED:
        check_spec(spec)


@pytest.mark.parametrize("spec", ["lambda_skip,lam=4", "transformer,skip=off,mlp=off", "mamba2,gate=off,norm=off"])
def test_a_probe_still_says_it(spec: str) -> None:
    assert PAGE.alike(PAGE.measure(spec), MEASURED[spec]), f"{PAGE.full(spec)}: if that is meant, run `make docs`"


def test_what_was_measured_can_be_told_from_what_was_not() -> None:
    found = MEASURED["lambda_skip,lam=4"]
    assert PAGE.alike(found, copy.deepcopy(found))
    assert PAGE.alike(found, found | {"rate": found["rate"] * (1 + 1e-5)})
    other = [
        found | {"rate": found["rate"] * 1.01},
        found | {"verdict": "collapsed"},
        found | {"mu_bar": [*found["mu_bar"][:-1], None]},
        found | {"mu_bar": found["mu_bar"][1:]},
        {},
        None,
    ]
    assert [PAGE.alike(found, each) for each in other] == [False] * len(other)


def test_the_check_fails_on_a_number_and_on_a_page_that_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FOLDER, tmp_path / "architectures")
    shutil.copy(ROOT / "docs" / "architectures.md", tmp_path)
    numbers = copy.deepcopy(MEASURED)
    monkeypatch.setattr(PAGE, "DOCS", tmp_path)
    monkeypatch.setattr(PAGE, "measure", lambda spec: numbers[spec])
    monkeypatch.setattr("sys.argv", ["architectures.py", "--check"])
    assert PAGE.main() == 0
    numbers["svformer"]["mu_bar"][24] += 0.01
    assert PAGE.main() == 1
    assert "zoo:svformer,depth=24,width=64: a probe now says something else" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["architectures.py"])
    assert PAGE.main() == 0
    monkeypatch.setattr("sys.argv", ["architectures.py", "--check"])
    assert PAGE.main() == 0
    (tmp_path / "architectures" / "s4d.svg").unlink()
    assert PAGE.main() == 1


@pytest.mark.parametrize("name", TEXTS)
def test_a_figure_is_a_small_svg_for_light_and_dark(name: str) -> None:
    text = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert len(text) < 20_000
    root = ElementTree.fromstring(text)
    labels = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text") if each.get("class") == "key"]
    assert labels == [PAGE.label(name, spec) for spec in TEXTS[name]["lines"]]
    assert "prefers-color-scheme:dark" in text
    assert not re.findall(r"(?:href|src)=\"(?!#)", text)


@pytest.mark.parametrize("name", TEXTS)
def test_every_claim_says_how_it_stands_and_what_shows_it(name: str) -> None:
    for claim in TEXTS[name]["claims"]:
        assert claim["here"] in WORDS
        assert claim["here"] == "not tried" or claim["tests"], claim["says"]
        for test in claim.get("tests", ()):
            path, _, function = test.partition("::")
            assert re.search(rf"^ *def {function}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), test


def test_the_published_ablations_are_not_called_reproduced() -> None:
    """What takes a training, or pretrained weights, is not shown by any test here."""
    trained = [
        claim for _, claim in CLAIMS if re.search(r"pretrained|accuracy|accuracies|loss|translation", claim["says"])
    ]
    assert len(trained) >= 6
    assert {claim["here"] for claim in trained} <= {"not tried", "not reproduced"}


def test_what_the_page_says_of_the_figures() -> None:
    """The facts behind the words of texts.toml, in their order."""
    collapsed = {
        spec.partition(",")[2]: found for spec, found in MEASURED.items() if found["verdict"].startswith("coll")
    }
    verdicts = {spec: found["verdict"].partition(",")[0] for spec, found in MEASURED.items()}
    assert {"skip=off", "norm=post"} <= set(collapsed)
    assert last("transformer,skip=off") < 1e-4 < 0.02 < last("transformer,norm=post") < 0.05
    assert verdicts["transformer"] == "healthy"
    assert last("transformer") < 0.6 * MEASURED["transformer"]["mu_bar"][0]
    for line in ("", ",norm=post"):  # linear attention falls as softmax attention does
        assert last(f"linear_attention{line}") == pytest.approx(last(f"transformer{line}"), rel=0.05)

    lam = [last(f"lambda_skip,lam={value}") for value in ("0", "1", "4", "-4", "128")]
    assert lam == sorted(lam)
    assert lam[1] < 0.05
    assert lam[4] == pytest.approx(MEASURED["lambda_skip,lam=128"]["mu_bar"][0], abs=0.01)
    assert MEASURED["lambda_skip,lam=0,causal=off"]["mu_bar"][2] < 1e-6
    up_to_sign = MEASURED["lambda_skip,lam=0,mixer=mamba2"]
    assert up_to_sign["verdict"].startswith("collapsed")
    assert min(up_to_sign["mu_bar"][1:]) > 0.95
    assert up_to_sign["rank_one_residual_unit"] < 0.01
    assert not verdicts["lambda_skip,lam=0,mixer=s4d"].startswith("collapsed")
    assert {word for spec, word in verdicts.items() if spec.startswith("s4d")} == {"healthy"}

    assert last("mamba,gate=off,skip=off") < 0.5 < last("mamba,gate=off") < last("mamba") < last("mamba,skip=off")
    assert last("mamba2,gate=off,skip=off") < last("mamba2,gate=off") < 0.7 < 0.9 < last("mamba2")
    assert verdicts["mamba2,gate=off,skip=off"] == "thinning"
    for spec in ("mamba,norm=off", "mamba2,norm=off", "mamba2,gate=off,norm=off"):
        assert last(spec) is None
    drop = [value for value in MEASURED["mamba2,gate=off,norm=off"]["mu_bar"] if value is not None]
    assert min(drop) < drop[0] - 0.05 < 0.95 < drop[-1]

    assert MEASURED["resi_dual"] == MEASURED["transformer,norm=post"]
    assert last("transformer") + 0.1 < last("resformer,variant=identity") < last("resformer,variant=dense")
    assert last("resformer,variant=constant") == pytest.approx(last("transformer"), rel=0.02)
    sparse, plain = MEASURED["resformer,variant=sparse"]["mu_bar"], MEASURED["transformer"]["mu_bar"]
    assert sparse[:22] == plain[:22]
    assert sparse[24] > plain[24]
    assert last("resformer,variant=identity") < last("svformer")
    restored = [last(spec) for spec in ("transformer", "neutreno", "neutreno,strength=1", "neutreno,strength=4")]
    assert restored == sorted(restored)

    shapes = {spec: value for spec, value in verdicts.items() if spec.startswith("structured")}
    assert all((word == "collapsed") == ("skip=off" in spec) for spec, word in shapes.items())
    assert max(shapes, key=last) == "structured,shape=spectral"
