"""What the papers report of skips, norms and λ, told by edits on models of the zoo with random weights."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rankscope
from rankscope.zoo import build

SAN = "zoo:transformer,depth=12,mlp=off,causal=off"
"""Attention alone, over all tokens: the setting of arXiv 2103.03404."""
ROW = "zoo:lambda_skip,depth=12"
"""Y(k+1) = D(k)(M(k) Y(k) C_V(k) + λ Y(k)), the layer of arXiv 2410.10609."""


def curve(model, measure="rank_one_residual_unit", **options):
    """A measure at layers 0 to K."""
    options = options or {"random": "ids=4x64:int64:0..255"}
    report = rankscope.probe(model, measures=[measure], **options)
    return [row.value for row in report.rows if row.measure == measure]


def ids():
    return torch.randint(256, (2, 24), generator=torch.Generator().manual_seed(0))


def test_without_skips_attention_collapses_doubly_exponentially():
    plain, bare = curve(SAN), curve(f"{SAN}+no_skip")
    assert plain[-1] > 0.3
    assert bare[1] > 0.1
    assert all(after < before**3 for before, after in itertools.pairwise(bare[1:4]))  # its cube: ibid., thm. 2.2
    assert max(bare[4:]) < 1e-6


@pytest.mark.parametrize("causal", ["on", "off"])
def test_lambda_restores_what_one_loses(causal):
    at = {lam: curve(f"{ROW},causal={causal}+lambda_skip={lam}", "mu_bar") for lam in (0, 0.1, 1, 4, 20)}
    last = [values[-1] for values in at.values()]
    assert last == sorted(last)
    assert max(last[:2]) < 0.01
    assert last[2] < 0.2
    assert min(at[20]) > 0.98 * at[20][0]  # the tokens are as far apart as at the input, in every layer


@pytest.mark.parametrize("lam", [-4.0, -20.0])
def test_a_large_negative_lambda_keeps_the_tokens_apart_too(lam):
    kept, lost = curve(f"{ROW}+lambda_skip={lam}", "mu_bar"), curve(f"{ROW}+lambda_skip=-0.1", "mu_bar")
    assert min(kept) > (0.98 if lam < -10 else 0.8) * kept[0]
    assert lost[-1] < 0.02


@pytest.mark.parametrize("size", [5, 10])
def test_after_training_a_negative_lambda_is_above_the_positive_of_the_same_size(size):
    """As arXiv 2410.10609 reports of the last layer of trained models; here the demo that was trained with λ = 1."""
    at = {lam: curve(f"baseline+lambda_skip={lam}", "mu_bar", inputs=ids())[-1] for lam in (size, -size, 1)}
    assert at[-size] > at[size] > at[1] + 0.2
    assert at[1] < 1e-3


class Toy(nn.Module):
    """One layer D(tril(Y Yᵀ) Y + Y), without weights."""

    def forward(self, y):
        return F.normalize(torch.tril(y @ y.mT) @ y + y, dim=-1)


class Repeated(nn.Module):
    """The toy, layer after layer."""

    def __init__(self, depth):
        super().__init__()
        self.layers = nn.ModuleList(Toy() for _ in range(depth))

    def forward(self, y):
        for layer in self.layers:
            y = layer(y)
        return y


@pytest.mark.parametrize(("lam", "cosine"), [(-3.0, 0.0), (3.0, 1.0), (1.0, 1.0), (-1.4, 1.0)])
def test_under_the_threshold_two_tokens_end_orthogonal_and_parallel_over_it(lam, cosine):
    """At −1.5 for the toy: a negative λ keeps apart what the positive one of the same size draws together."""
    y = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]], dtype=torch.float64)
    model = Repeated(80)
    with torch.no_grad(), rankscope.edit(model, f"lambda_skip={lam}", y) as told:
        one, two = model(y)[0]
    assert told[0].endswith("80 residual adds in 80 layers")
    assert abs((one @ two).item()) == pytest.approx(cosine, abs=0.02)


TRANSFORMER, LAMBDA_SKIP = "transformer,depth=3,width=32", "lambda_skip,depth=3,width=32,mlp=on"
SAME = [  # a model, an edit, and the options of the zoo that say the same
    *[
        (f"{LAMBDA_SKIP},norm={norm}", f"lambda_skip={lam}", f"{LAMBDA_SKIP},norm={norm},lam={lam}")
        for norm in ("row", "layer", "rms")
        for lam in ("2.5", "1,-2,4", "-4")
    ],
    *[
        (f"{TRANSFORMER},norm={norm}", edit, f"{TRANSFORMER},norm={norm},{option}")
        for norm in ("pre", "post")
        for edit, option in (("no_skip", "skip=off"), ("no_mlp", "mlp=off"))
    ],
    *[(f"{TRANSFORMER},norm={norm}", "no_norm", f"{TRANSFORMER},norm=none") for norm in ("pre", "post")],
    (f"{LAMBDA_SKIP},norm=rms", "no_norm", f"{LAMBDA_SKIP},norm=none"),
]


@pytest.mark.parametrize(("spec", "edit", "same"), SAME)
def test_an_edit_is_the_option_of_the_zoo(spec, edit, same):
    model, hand = build(spec).eval(), build(same).eval()
    missing = hand.load_state_dict(model.state_dict(), strict=False).missing_keys
    assert not missing
    with torch.no_grad():
        with rankscope.edit(model, edit, ids()):
            edited = model(ids())
        torch.testing.assert_close(edited, hand(ids()), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(edited, model(ids()), atol=1e-3)
