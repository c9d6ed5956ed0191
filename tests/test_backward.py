"""One forward pass for activations and gradients gives what two give; what fails is repeated without gradients."""

import pytest
import torch
from nets import Attention, Experts, Masked, PreNorm, Shared, Stack, cnn, ids
from torch import nn

import rankscope
from rankscope.backward import Backward
from rankscope.errors import UsageError


class Counted(Stack):
    """Counts its forward passes."""

    def forward(self, ids):
        self.calls = [*getattr(self, "calls", []), torch.is_grad_enabled()]
        return super().forward(ids)


class NoGradients(Stack):
    """Runs, but not so that it can be differentiated; fails after its first block."""

    error: Exception = RuntimeError("only in inference")

    def forward(self, ids):
        x = self.blocks[0](self.embed(ids))
        if torch.is_grad_enabled():
            raise self.error
        return self.head(self.blocks[1](x))


def apart(monkeypatch, model, inputs, **options):
    """The report of two forward passes."""
    with monkeypatch.context() as patched:
        patched.setattr(Backward, "together", lambda self, batch: False)
        return rankscope.probe(model, inputs, **options)


def same(together, two, rel=1e-6):
    assert [row.key for row in together.rows] == [row.key for row in two.rows]
    for x, y in zip(together.rows, two.rows, strict=True):
        assert (x.status, x.reason, x.sequences, x.tokens, len(x.samples)) == (
            y.status, y.reason, y.sequences, y.tokens, len(y.samples),
        )  # fmt: skip
        if y.value is not None:
            assert x.value == pytest.approx(y.value, rel=rel, abs=1e-9), x.key
    assert together.notes == two.notes
    assert together.inputs == two.inputs


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def padded():
    mask = (torch.arange(9) < torch.tensor([[9], [6], [2]])).long()
    return {"input_ids": ids(3, 9), "attention_mask": mask}


@pytest.mark.parametrize("measures", ["quick", "full"])
@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (lambda: Stack([Attention(16) for _ in range(3)]), ids()),
        (lambda: Stack([Attention(16, eager=True) for _ in range(3)]), ids(1, 12)),
        (lambda: Stack([PreNorm(16, inplace=True) for _ in range(3)]), ids()),
        (lambda: Shared(Attention(16), 4), ids()),
        (lambda: Stack([Experts(16) for _ in range(2)]), ids()),
        (Masked, padded()),
        (lambda: nn.Transformer(16, 4, 2, 2, 32, batch_first=True), (drawn(3, 9, 16), drawn(3, 6, 16))),
        (lambda: nn.LSTM(4, 8, 2, batch_first=True), drawn(2, 9, 4)),
        (cnn, drawn(2, 3, 12, 12)),
        (lambda: Stack([PreNorm(16) for _ in range(2)]).bfloat16(), ids()),
    ],
    ids=["fused", "eager", "in_place", "shared", "experts", "padded", "two_stacks", "lstm", "cnn", "bf16"],
)
def test_one_pass_gives_the_numbers_of_two(monkeypatch, model, inputs, measures):
    torch.manual_seed(0)
    net = model()
    together, two = rankscope.probe(net, inputs, measures=measures), apart(monkeypatch, net, inputs, measures=measures)
    # oneDNN has an LSTM of its own for training: the last bit differs, and condition numbers of 1e3 show it
    same(together, two, 1e-3 if isinstance(net, nn.LSTM) else 1e-6)


def test_a_batch_within_the_limit_runs_once_and_one_beyond_it_twice():
    model = Counted([PreNorm(16) for _ in range(2)])

    def passes(inputs, **options):
        model.calls = []
        rankscope.probe(model, inputs, measures=options.pop("measures", "quick"), **options)
        return model.calls[2:]  # the first two learn the masks and the places

    assert passes(ids(2, 9)) == [True]
    assert passes(ids(2, 9), grad_tokens=18) == [True]
    assert passes(ids(2, 9), grad_tokens=17) == [False, True]
    assert passes([ids(2, 9), ids(3, 7)]) == [True, False]
    assert passes(ids(2, 9), measures="forward") == [False]


@pytest.mark.parametrize("count", [1, 3])
def test_later_batches_follow_as_before(monkeypatch, count):
    torch.manual_seed(0)
    model, batches = Stack([Attention(16) for _ in range(2)]), [ids(2, 9), ids(3, 7), ids(1, 12)][:count]
    two = apart(monkeypatch, model, batches)
    same(rankscope.probe(model, batches), two)
    sites = [row.site.endswith("gradient") for row in two.rows]
    assert sites == sorted(sites), "gradients come last"


@pytest.mark.parametrize(
    "error", [RuntimeError("only in inference"), torch.OutOfMemoryError("full"), MemoryError(), KeyError("x")]
)
def test_a_pass_that_fails_with_gradients_is_repeated_without_them(monkeypatch, error):
    model = NoGradients([Attention(16) for _ in range(2)])
    model.error = error
    report = rankscope.probe(model, ids(3, 9), measures="full")
    same(report, apart(monkeypatch, model, ids(3, 9), measures="full"))
    block = [row for row in report.rows if row.site == "block" and row.scope == "sequence"]
    assert {(row.status, row.sequences, len(row.samples)) for row in block} == {("ok", 3, 3)}
    assert {row.status for row in report.rows if row.site.endswith("gradient")} <= {"undefined", "skipped"}


def test_a_backward_pass_that_fails_costs_the_gradients_alone():
    class Detached(Counted):
        def forward(self, ids):
            return super().forward(ids).detach()

    model = Detached([PreNorm(16) for _ in range(2)])
    report = rankscope.probe(model, ids())
    assert model.calls[2:] == [True], "the forward pass is not repeated"
    assert {row.status for row in report.rows if row.site == "block"} == {"ok"}
    assert {row.status for row in report.rows if row.site.endswith("gradient")} == {"undefined"}


def test_a_loss_that_does_not_fit_is_told():
    with pytest.raises(UsageError, match="RS112"):
        rankscope.probe(Stack([PreNorm(16) for _ in range(2)]), ids(), loss="ce")


@pytest.mark.parametrize("tokens", [9, 20, 40])
def test_factors_and_formed_gradients_make_the_same_report(tokens):
    torch.manual_seed(0)
    model = Stack([PreNorm(96) for _ in range(2)], width=96)
    names = ["grad_condition", "grad_effective_rank", "grad_stable_rank", "grad_rank"]
    fast, exact = (rankscope.probe(model, ids(2, tokens), measures=names, spectra=way) for way in ("auto", "svd"))
    for x, y in zip(fast.rows, exact.rows, strict=True):
        assert (x.key, x.status, x.tokens, x.ceiling) == (y.key, y.status, y.tokens, y.ceiling)
        if y.value is not None:
            # the formed gradient is rounded to float32, which moves small singular values by 1e-7·σ_1
            assert x.value == pytest.approx(y.value, rel=2e-2 if x.measure == "grad_condition" else 1e-3), x.key
            assert x.error is not None
    ranks = [row for row in fast.rows if row.measure == "grad_rank" and row.value is not None]
    assert all(row.value <= row.ceiling for row in ranks)
    assert max(row.value for row in ranks) <= 2 * tokens


def test_a_weight_beyond_the_allowance_is_skipped():
    model = Stack([PreNorm(96) for _ in range(2)], width=96)
    report = rankscope.probe(model, ids(2, 60), measures=["grad_norm", "grad_rank"], memory=200_000)
    rows = [row for row in report.rows if row.site == "weight_gradient"]
    assert {row.status for row in rows} == {"skipped"}
    assert all("--memory" in row.reason for row in rows)
    assert {row.status for row in report.rows if row.site == "gradient"} == {"ok"}
