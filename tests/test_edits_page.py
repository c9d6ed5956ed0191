"""docs/edits.md is what the models say today: the skips that are found, and the edits that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from edits_page import BEGIN, END, FAMILIES, HEAD, images, look, part, told, unets

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore"),  # the packages warn of their own accord; ours are errors elsewhere
]
DOCUMENT = Path(__file__).parent.parent / "docs" / "edits.md"


def test_the_table_is_what_the_models_say(request: pytest.FixtureRequest) -> None:
    for package in ("transformers", "x_transformers"):
        pytest.importorskip(package, reason=f"needs the package {package}, which `make check` installs")
    text = DOCUMENT.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    old, _, tail = rest.partition(END)
    new = "\n" + part(old)
    if request.config.getoption("--renew"):
        DOCUMENT.write_text(head + BEGIN + new + END + tail, encoding="utf-8")
        old = new
    assert new.splitlines() == old.splitlines(), "if that is meant: pytest tests/test_edits_page.py --renew"
    assert "DIFFERENT" not in new
    rows = [line for line in new.splitlines() if line.startswith("| ")]
    assert {line.count(" | ") for line in rows} == {len(HEAD) - 1}
    assert {name for names in FAMILIES.values() for name in names.split()} <= {
        line.split(" | ")[0][2:] for line in rows
    }


def test_long_skips_of_a_net_are_outside_and_joined_ones_are_none() -> None:
    found = {name: look(build(), images()) for name, build in unets().items()}
    assert {name: each.outside for name, each in found.items()} == {"U-Net, additive": 2, "U-Net, concatenating": 0}
    assert all(each.refused["lambda_skip"] == "RS450" for each in found.values())


def test_edits_are_told_by_their_code() -> None:
    assert told({"no_gate": "RS461", "no_skip": "RS450", "lambda_skip": "RS450"}) == (
        "`no_skip`, `lambda_skip` [RS450](errors.md#rs450); `no_gate` [RS461](errors.md#rs461)"
    )
    assert told({"no_mlp": "changes nothing"}) == "`no_mlp` changes nothing"
    assert told({}) == "—"
