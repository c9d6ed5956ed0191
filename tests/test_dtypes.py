"""One model in several dtypes: the numbers agree within what each dtype can tell apart."""

import pytest
import torch
from nets import Attention, PreNorm, Stack, ids
from torch import nn

import rankscope
from rankscope.errors import UsageError

RELATIVE = {"mu", "token_norm_ratio", "value_cosine", "grad_norm"}  # rounding moves them by eps, times themselves
LOW = ("float32", "bfloat16", "float16")


def net(depth=4, width=24, seed=0):
    torch.manual_seed(seed)
    return Stack([Attention(width) if index % 2 else PreNorm(width) for index in range(depth)], width)


def probe(model, inputs=None, measures="quick", **options):
    return rankscope.probe(model, ids(2, 16) if inputs is None else inputs, measures=measures, **options)


@pytest.fixture(scope="module")
def reference():
    return probe(net(), dtype="float64")


def tolerance(row, exact, eps):
    """How far a value of a dtype may lie from that of float64."""
    if row.measure in RELATIVE:
        return 2 * eps * max(1.0, abs(exact))
    if row.measure == "grad_condition":  # σ_n moves by eps·σ_1, and so σ_1/σ_n by eps·κ²
        return eps * exact**2
    if row.measure == "grad_rank":  # the floor is the rank that rounding alone shows
        return row.floor
    if row.floor < 1:  # a residual: collapsed data settles at 4·eps
        return row.floor
    return 2 * (row.floor - 1) + 4 * eps * exact  # a rank: 1 is what a rank-one matrix shows without rounding


def ranks(report):
    return {row.parameter: row.value for row in report.rows if row.measure == "grad_rank"}


@pytest.mark.parametrize("dtype", LOW)
def test_quick_measures_agree_within_their_floors(dtype, reference):
    report, eps = probe(net(), dtype=dtype), torch.finfo(getattr(torch, dtype)).eps
    assert report.environment["dtype"] == dtype
    compared = set()
    for row, exact in zip(report.rows, reference.rows, strict=True):
        assert (row.key, row.status) == (exact.key, exact.status)
        # σ_n of a gradient that is rounding in one dtype and not in the other is no number to compare
        rounding = row.measure == "grad_condition" and ranks(report)[row.parameter] != ranks(reference)[row.parameter]
        if row.value is not None and not rounding:
            compared.add(row.measure)
            assert row.value == pytest.approx(exact.value, rel=0, abs=tolerance(row, exact.value, eps)), row.key
    assert compared >= {"mu_bar", "effective_rank", "grad_norm", "grad_rank"}
    assert dtype != "float32" or "grad_condition" in compared
    assert {depth.verdict for depth in report.depth} == {depth.verdict for depth in reference.depth}


def test_the_tolerance_is_that_of_the_dtype_and_not_wider(reference):
    report = probe(net(), dtype="bfloat16")
    eps = torch.finfo(torch.float32).eps
    pairs = [(row, exact) for row, exact in zip(report.rows, reference.rows, strict=True) if row.measure == "mu"]
    assert any(abs(row.value - exact.value) > tolerance(row, exact.value, eps) for row, exact in pairs)


class Auto(Stack):
    def forward(self, ids):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(ids)


class Cast(nn.Module):
    def __init__(self, block, dtype):
        super().__init__()
        self.block, self.dtype = block.to(dtype), dtype

    def forward(self, x):
        return self.block(x.to(self.dtype))


def test_autocast_and_several_dtypes_in_one_model(reference):
    auto = Auto(list(net().blocks), 24)
    auto.load_state_dict(net().state_dict())
    mixed = net()
    mixed.blocks = nn.ModuleList(
        Cast(b, torch.bfloat16 if i == 1 else torch.float32) for i, b in enumerate(net().blocks)
    )
    eps = torch.finfo(torch.bfloat16).eps
    for model in (auto, mixed):
        report = probe(model, measures="mu,mu_bar,stable_rank")
        exact = {row.key[1:]: row.value for row in reference.rows}
        for row in report.rows:
            assert row.value == pytest.approx(exact[row.key[1:]], abs=4 * eps, rel=4 * eps)
    assert report.environment["dtype"] == "bfloat16"  # of several the coarsest
    floors = {row.layer_index: row.floor for row in report.rows if row.measure == "mu_bar"}
    assert (floors[2], floors[3]) == (4 * eps, 4 * torch.finfo(torch.float32).eps)


def test_inputs_of_a_model_of_several_dtypes_stay_as_they_are():
    model = nn.Sequential(Cast(nn.Linear(8, 8), torch.float64), Cast(nn.Linear(8, 8), torch.bfloat16))
    x = torch.randn(2, 9, 8)
    report = probe(model, x, measures="mu")
    seen = probe(nn.Identity(), x, measures="mu").rows[0]
    assert report.rows[0].value == seen.value


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8, dtype=torch.complex64)

    def forward(self, x):
        return self.inner(x.to(torch.complex64))


class Real(nn.Module):
    def forward(self, x):
        return x.real


def test_a_complex_output_is_refused_for_its_layer_alone():
    model = nn.Sequential(nn.Linear(8, 8), Complex(), Real(), nn.Linear(8, 8))
    report = probe(model, torch.randn(2, 9, 8))
    blocks = {row.layer: (row.status, row.reason) for row in report.rows if row.site == "block"}
    assert {name for name, found in blocks.items() if found == ("undefined", "its output is complex")} == {
        "1.inner.input",
        "1.inner",
    } & set(blocks)
    assert blocks["3"] == ("ok", None)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(Complex(), Real()),
        nn.Sequential(nn.Linear(8, 8)).requires_grad_(False),
    ],
    ids=["complex", "no copy"],
)
def test_what_cannot_be_moved_to_a_dtype_says_so(model):
    if len(model) == 1:
        model.kept = (p for p in ())  # a generator: no copy can be made
    with pytest.raises(UsageError, match="RS408"):
        probe(model, torch.randn(2, 9, 8), dtype="float64")
    assert {parameter.dtype for parameter in model.parameters()} <= {torch.float32, torch.complex64}
