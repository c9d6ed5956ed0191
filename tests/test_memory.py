"""The allowance of memory: sizes as people write them, what is made smaller, what is skipped and why."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import rankscope
from rankscope import memory
from rankscope.errors import UsageError
from rankscope.measures import resolve
from rankscope.memory import Memory, size
from rankscope.moments import OF_GRAMS, bytes_of, stacked
from rankscope.records import Layer
from rankscope.reduction import Reduction

LAYERS = [Layer("h.*", index, f"h.{index}", "Block") for index in range(4)]
MEASURES = ["mu", "mu_bar_unit", "token_norm_ratio", "effective_rank", "effective_rank_unit", "participation_ratio"]


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("2GiB", 2**31), ("2G", 2**31), (" 2 gib ", 2**31), ("500MB", 500_000_000), ("1.5k", 1536), ("7", 7), (7, 7)],
)
def test_sizes(text, bytes_):
    assert size(text) == bytes_


@pytest.mark.parametrize(
    "text", ["", "GiB", "0", "0.0G", "-2G", "2X", "80%", "2 GiB free", "1e9", "nan", True, "9" * 40]
)
def test_what_is_no_size_is_told_with_an_example(text):
    with pytest.raises(UsageError, match="no size") as caught:
        size(text)
    assert caught.value.code == "RS123"
    assert "--memory 2GiB" in str(caught.value)


def test_a_bad_size_is_told_before_torch_is_loaded():
    code = "import sys; from rankscope.cli import main; rc = main(['probe', 'nothing.pt', '--memory', '2Gob']); "
    done = subprocess.run(
        [sys.executable, "-c", code + "print(rc, 'torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.split() == ["2", "False"], done.stderr
    with pytest.raises(UsageError, match="no size"):
        rankscope.probe(nn.Linear(3, 3), torch.randn(1, 4, 3), memory="much")


def test_the_default_is_half_of_what_is_free(monkeypatch):
    assert memory.default(6 * 2**30) == 3 * 2**30
    assert memory.default(0) == memory.LEAST
    assert memory.LEAST <= memory.default() <= memory._physical() // 2
    monkeypatch.setattr(memory, "Path", lambda *_: _Missing())
    assert memory.default() == max(memory.LEAST, memory._physical() // 2)


class _Missing:
    def __truediv__(self, _):
        return self

    def read_text(self, **_):
        raise FileNotFoundError


def test_what_is_held_counts():
    allowance = Memory(2**30)
    assert allowance.refusal(2**30, "it") is None
    allowance.held = 2**29
    assert allowance.refusal(2**29, "it") is None
    assert allowance.refusal(2**30, "it") == "it needs 1 GiB, and --memory allows 1 GiB, of which 512 MiB are held"
    assert allowance.share(4, 2**40) == 2**28
    assert allowance.share(4, 100) == 100


def reduced(tokens, total, measures=MEASURES):
    reduction = Reduction(resolve(measures), memory=Memory(total))
    for index, layer in enumerate(LAYERS):
        reduction.activation(layer, tokens + index, None, 0)
    rows = reduction.rows()
    assert reduction.memory.held == 0, "everything is given back"
    return {(row.layer_index, row.measure, row.scope): row for row in rows}


def on_a_gpu(monkeypatch, solved):
    """The way of a GPU on the processor; notes how many sequences each call of the solver has."""
    from rankscope.moments import fast

    def moments(tokens, wanted, *_):
        return stacked(tokens, sorted(wanted, key=lambda pair: pair[1] != "spectrum"))

    spectra = fast._spectra
    monkeypatch.setattr("rankscope.deferred.moments", moments)
    monkeypatch.setattr(fast, "_spectra", lambda grams, longer: solved.append(len(grams)) or spectra(grams, longer))


def test_a_small_allowance_changes_no_number(monkeypatch):
    tokens = torch.randn(5, 12, 20, generator=torch.Generator().manual_seed(0))
    wanted = {(r.form, need) for r in resolve(MEASURES) for need in r.measure.moments}
    least = bytes_of(12, 20, wanted)
    plain, tight = reduced(tokens, 2**30), reduced(tokens, least)
    assert plain == tight
    solved = []
    on_a_gpu(monkeypatch, solved)
    whole, some = reduced(tokens, 2**30), None
    assert solved == [40], "Grams of all layers and forms of one size are solved in one call"
    solved.clear()
    some = reduced(tokens, 4 * least)
    assert len(solved) > 4
    assert sum(solved) == 40
    for key, row in plain.items():
        assert whole[key].status == some[key].status == "ok"
        assert whole[key].samples == pytest.approx(row.samples, rel=1e-9)
        assert some[key].samples == pytest.approx(row.samples, rel=1e-9)


@pytest.mark.parametrize("gpu", [False, True])
def test_what_does_not_fit_is_skipped_with_what_it_takes(monkeypatch, gpu):
    if gpu:
        on_a_gpu(monkeypatch, [])
    tokens = torch.randn(2, 64, 64)
    wanted = {(r.form, need) for r in resolve(MEASURES) for need in r.measure.moments}
    light = bytes_of(64, 64, {pair for pair in wanted if pair[1] not in OF_GRAMS})
    assert light < bytes_of(64, 64, wanted)
    for (_, measure, _), row in reduced(tokens, light).items():
        if measure in {"mu", "mu_bar_unit", "token_norm_ratio"}:
            assert row.status == "ok"
        else:
            assert (row.status, row.value, row.samples) == ("skipped", None, ())
            assert row.reason == (
                f"one sequence of 64 × 64 needs {memory.told(bytes_of(64, 64, wanted))}, "
                f"and --memory allows {memory.told(light)}"
            )
    assert {row.status for row in reduced(tokens, 1000).values()} == {"skipped"}


def test_a_wide_and_a_long_activation_fit_in_little():
    for shape in ((1, 4, 20000), (1, 20000, 4)):
        rows = reduced(torch.randn(shape), 64 * 2**20)
        assert {row.status for row in rows.values()} == {"ok"}


def test_of_a_width_past_16k_the_spectrum_is_skipped_and_not_tried():
    tokens = torch.zeros(1, 1).expand(17000, 17000).unsqueeze(0)  # takes no memory itself
    names = ["effective_rank", "mu", "mu_1inf", "pooled:effective_rank"]
    reduction = Reduction(resolve(names), memory=Memory(2**28))
    reduction.activation(LAYERS[0], tokens, None, 0)
    rows = reduction.rows()
    assert sorted(row.measure for row in rows) == ["effective_rank", "effective_rank", "mu", "mu_1inf"]
    assert {row.status for row in rows} == {"skipped"}
    assert all("17000" in row.reason and "GiB" in row.reason for row in rows)


def test_pooled_spectra_are_held_to_the_end_and_counted():
    tokens = torch.randn(2, 8, 32)
    rows = reduced(tokens, 90_000, ["pooled:effective_rank", "pooled:effective_rank_unit"])
    states = [row.status for row in rows.values()]
    assert set(states) == {"ok", "skipped"}
    reason = next(row.reason for row in rows.values() if row.status == "skipped")
    assert reason.startswith("a pooled spectrum of width 32 needs")
    assert "are held" in reason


def test_probe_takes_the_allowance():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model, given = nn.TransformerEncoder(layer, 2).eval(), torch.randn(2, 8, 16)
    report = rankscope.probe(model, given, measures="forward", memory="10KB")
    reasons = {row.reason for row in report.rows if row.status == "skipped"}
    assert any("and --memory allows 9.77 KiB" in reason for reason in reasons)
    whole = rankscope.probe(model, given, measures="forward", memory="1GiB")
    assert not any(row.status == "skipped" for row in whole.rows)
