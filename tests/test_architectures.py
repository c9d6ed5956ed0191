"""Every architecture of the catalogue: stacks, blocks and residual adds as its code has them, and no silent gap."""

from __future__ import annotations

import pytest
from architectures import CATALOGUE
from seen import NO_STACK
from seen import architecture as seen

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore"),  # the packages warn of their own accord; ours are errors elsewhere
]


UNREAD = {  # which rows are the tokens of a sequence is not defined, and why
    "hyper-connections": "several residual streams",
    "Gemma3nText": "several residual streams",
    "DeepseekV4": "several residual streams",
    "PatchTST": "which of its axes counts tokens cannot be told",  # channels are sequences apart from each other
}


def need(name: str) -> None:
    """Skip where the package of an architecture is not installed."""
    package = CATALOGUE[name].package
    if not package.startswith("tests/"):
        pytest.importorskip(
            package.replace("-", "_"), reason=f"needs the package {package}, which `make check` installs"
        )


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_is_seen_is_what_the_code_has(name: str) -> None:
    need(name)
    expected, found = CATALOGUE[name], seen(name)
    assert found.facts.refusal is None
    assert (found.blocks, found.adds) == (expected.blocks, expected.adds), found.stacks
    assert bool(found.stacks) == (NO_STACK not in {layer.stack for layer in found.report.layers})


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_row_has_a_number_or_a_reason(name: str) -> None:
    need(name)
    found = seen(name)
    assert all((row.status == "ok") == (row.value is not None) for row in found.report.rows)
    assert all(row.reason for row in found.report.rows if row.status != "ok")
    blocks = [row for row in found.report.rows if row.measure == "mu_bar"]
    if name in UNREAD:
        assert all(row.status == "undefined" and UNREAD[name] in (row.reason or "") for row in blocks)
    else:
        assert not found.stacks or {row.status for row in blocks} == {"ok"}
    assert len(blocks) == len(found.report.layers)


@pytest.mark.parametrize("name", CATALOGUE)
def test_values_and_maps_are_measured_where_they_were_promised(name: str) -> None:
    need(name)
    found = seen(name)
    for measure, kind in (("value_cosine", "values"), ("attention_entropy", "attention")):
        rows = found.rows(measure)
        for key, block in found.each_block():
            promised, why = getattr(block, kind), getattr(block, f"no_{kind}")
            assert bool(promised) != bool(why), (key, promised, why)
            assert rows[key].status == "ok" or rows[key].reason
            assert promised or rows[key].status != "ok", key


def test_the_catalogue_is_as_broad_as_the_page_promises() -> None:
    assert len(CATALOGUE) >= 60
    assert len({entry.family for entry in CATALOGUE.values()}) >= 8
