"""A backward pass that would take more than is allowed is skipped, with the reason; the rest of the report is there."""

import numpy as np
import pytest
import torch
from torch import nn

import rankscope
from rankscope.capture import keeping
from rankscope.capture.keeping import Keeping, bytes_of_gradients, held
from rankscope.memory import Memory


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return x + torch.tanh(self.linear(x))


def probed(memory, width=32, **options):
    torch.manual_seed(0)
    model = nn.Sequential(*[Block(width) for _ in range(6)]).eval()
    given = torch.randn(2, 16, width, generator=torch.Generator().manual_seed(0))
    return rankscope.probe(model, given, measures=["mu", "grad_norm", "grad_rank"], memory=memory, **options)


def by_status(report):
    found = {}
    for row in report.rows:
        found.setdefault((row.site, row.status), []).append(row.reason)
    return found


@pytest.fixture
def grows(monkeypatch):
    """Each reading of what is held is 1 MB more than the one before."""
    readings = iter(range(0, 10**9, 10**6))
    monkeypatch.setattr(keeping, "held", lambda device: next(readings))


def test_with_enough_memory_there_are_gradients():
    assert {status for _, status in by_status(probed("1GiB"))} == {"ok"}


def test_the_gradients_of_weights_alone_may_be_too_much():
    found = by_status(probed("20KB"))
    assert ("block", "ok") in found
    for site in ("gradient", "weight_gradient"):
        reasons = found[site, "skipped"]
        assert set(reasons) == {
            "the backward pass, for the gradients of weights alone, needs 24 KiB, and --memory allows 19.5 KiB"
        }


@pytest.mark.parametrize("grad_tokens", [1024, 16])
def test_what_is_kept_may_be_too_much(grows, grad_tokens):
    report = probed("3MB", grad_tokens=grad_tokens)
    found = by_status(report)
    assert ("block", "ok") in found
    assert {site for site, status in found if status == "skipped"} == {"gradient", "weight_gradient"}
    reason = found["gradient", "skipped"][0]
    assert reason == ("the backward pass (2.86 MiB kept by layer 4 of 7) needs 5.75 MiB, and --memory allows 2.86 MiB")
    assert any(note.code == "RS532" and "needs" in note.text for note in report.notes)
    whole = probed("1GiB")
    for row in report.rows:
        if row.site == "block":
            assert row == next(other for other in whole.rows if other.key == row.key), "the rest is what it is"


def test_the_estimate_is_of_the_whole_pass(monkeypatch):
    readings = iter([100, 200, 300, 401])
    monkeypatch.setattr(keeping, "held", lambda device: next(readings))
    watch = Keeping(Memory(1050), torch.device("cpu"), 9, 750)
    assert watch.beforehand() is None
    watch.layer()
    watch.layer()
    watch.layer()
    with pytest.raises(MemoryError, match=r"needs 1\.52 KiB") as caught:
        watch.layer()
    assert "layer 4 of 9" in watch.reason == str(caught.value)


def test_what_is_held_follows_what_is_allocated():
    cpu = torch.device("cpu")
    before = held(cpu)
    if not before:
        pytest.skip("this system does not tell what a process holds")
    block = np.ones(50_000_000, dtype=np.uint8)
    assert 45e6 < held(cpu) - before < 70e6
    assert len(block)


def test_bytes_of_gradients():
    weights = [torch.zeros(128, 64), torch.zeros(8, 4, 3, 3), torch.zeros(100, 100, dtype=torch.bfloat16)]
    assert bytes_of_gradients(weights, 10, factored=False) == 4 * 128 * 64 + 4 * 8 * 36 + 2 * 10000
    assert bytes_of_gradients(weights, 10, factored=True) == 4 * 10 * 192 + 4 * 8 * 36 + 2 * 10 * 200
    assert bytes_of_gradients(weights, 500, factored=True) == bytes_of_gradients(weights, 500, factored=False)
