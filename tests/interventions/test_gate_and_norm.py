"""The gate × norm ablation of Mamba-2 (arXiv 2410.10609, experiments), by edits on the zoo's, with random weights."""

import pytest
import torch

import rankscope
from rankscope.zoo import build

MODEL = "zoo:mamba2,depth=24"
SMALL = "mamba2,depth=3,width=32"
INNER = 64  # twice the width: the rows of the projection that give the gate


def curve(edits, measure="mu_bar"):
    """A measure at layers 0 to 24; None where it is not defined."""
    report = rankscope.probe(MODEL + edits, measures=[measure], random="ids=4x64:int64:0..255")
    return [row.value for row in report.rows if row.measure == measure]


def test_with_its_gate_mamba_2_keeps_its_tokens_apart_also_without_skips():
    assert min(curve("")) > 0.85
    assert min(curve("+lambda_skip=0")) > 0.85


def test_without_its_gate_it_loses_them():
    gated, bare = curve(""), curve("+no_gate")
    assert bare[-1] < 0.75 * gated[-1]
    assert bare[4] > bare[12] > bare[20] > bare[24]
    assert curve("+no_gate+lambda_skip=0")[-1] < 0.3
    assert curve("+no_gate+no_norm+lambda_skip=0")[-1] < 0.1


def test_without_gate_and_norm_it_is_unstable():
    values = curve("+no_gate+no_norm")
    assert None not in values[:4]
    assert values[-1] is None


@pytest.mark.parametrize("lam", [20, -20])
def test_a_large_lambda_restores_what_the_missing_gate_loses(lam):
    values = curve(f"+no_gate+lambda_skip={lam}")
    assert min(values) > 0.95 * values[0]


@pytest.mark.parametrize(
    ("edits", "options"), [("no_gate", "gate=off"), ("no_norm", "norm=off"), ("no_gate+no_norm", "gate=off,norm=off")]
)
def test_the_edit_is_the_option(edits, options):
    model, hand = build(SMALL).eval(), build(f"{SMALL},{options}").eval()
    weights = model.state_dict()
    for name in weights:
        if name.endswith("in_proj.weight") and "gate=off" in options:
            weights[name] = weights[name][INNER:]
    assert not hand.load_state_dict(weights, strict=False).missing_keys
    ids = torch.randint(256, (2, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with rankscope.edit(model, edits, ids):
            edited = model(ids)
        torch.testing.assert_close(edited, hand(ids), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(edited, model(ids), atol=1e-3)
