"""docs/models.md is what the models say today; every form of MODEL has the numbers of the live model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from model_forms import MAKERS
from models_page import AGREE, kept, page
from seen import opened

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore"),  # the packages warn of their own accord; ours are errors elsewhere
]
DOCUMENT = Path(__file__).parent.parent / "docs" / "models.md"


@pytest.mark.parametrize("name", MAKERS)
def test_a_form_has_the_numbers_of_the_live_model(name: str) -> None:
    for package in MAKERS[name].needs:
        pytest.importorskip(package, reason=f"needs the package {package}")
    found = opened(name)
    assert found.apart() <= AGREE
    assert found.refused == MAKERS[name].refused
    assert {row.status for row in found.found.report.rows if row.measure == "mu_bar"} == {"ok"}


def test_the_page_is_what_the_models_say(request: pytest.FixtureRequest) -> None:
    for package in ("transformers", "x_transformers"):
        pytest.importorskip(package, reason=f"needs the package {package}, which `make check` installs")
    old = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    new = page(old)
    if request.config.getoption("--renew"):
        DOCUMENT.write_text(new, encoding="utf-8")
        old = new
    made_with, here = (re.findall(r"^### .*\((.*)\)$", text, re.MULTILINE) for text in (old, new))
    if made_with and made_with != here:
        pytest.skip(f"the page was made with {', '.join(dict.fromkeys(made_with))}")
    assert new.splitlines() == old.splitlines(), "if that is meant: pytest tests/test_models_page.py --renew"


def test_a_row_whose_package_is_missing_is_left_as_it_is() -> None:
    old = "## One\n\n| a | 1 |\n| b | 2 |\n\n## Two\n\n| a | 3 |\n"
    assert [kept(old, "One", "a"), kept(old, "One", "b"), kept(old, "Two", "a")] == [
        "| a | 1 |",
        "| b | 2 |",
        "| a | 3 |",
    ]
    assert kept(old, "Two", "b") is None
