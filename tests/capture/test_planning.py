"""A trace of a few tokens stands for one of all, or is not taken."""

import pytest
import torch
from nets import Attention, Stack, ids
from torch import nn

import rankscope
from rankscope.capture import planning
from rankscope.capture.layout import axes
from rankscope.capture.plan import plan
from rankscope.capture.planning import FEW_TOKENS
from rankscope.capture.slicing import first_tokens
from rankscope.records import Batch

LONG = FEW_TOKENS + 9


@pytest.fixture
def traced(monkeypatch):
    """The shapes of the first argument of every call that is traced."""
    shapes, original = [], planning.trace

    def trace(model, batch):
        shapes.append(tuple(batch.args[0].shape))
        return original(model, batch)

    monkeypatch.setattr(planning, "trace", trace)
    return shapes


class Recurrent(nn.Module):
    """Calls its cell once a token, then a block for every eight tokens."""

    def __init__(self):
        super().__init__()
        self.embed, self.cell = nn.Embedding(100, 8), nn.GRUCell(8, 8)
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, ids):
        state, states = torch.zeros(len(ids), 8), []
        for token in self.embed(ids).unbind(1):
            state = self.cell(token, state)
            states.append(state)
        x = torch.stack(states, 1)
        for _ in range(x.shape[1] // 8):
            for block in self.blocks:
                x = x + torch.relu(block(x))
        return x


def stack():
    torch.manual_seed(0)
    return Stack([Attention(16) for _ in range(4)], 16)


def test_a_long_sequence_is_traced_by_its_first_tokens(traced):
    report = rankscope.probe(stack(), ids(batch=3, tokens=LONG), measures="forward")
    assert traced == [(1, FEW_TOKENS)]
    assert {layer.shape for layer in report.layers} == {(LONG, 16)}
    assert {row.status for row in report.rows} == {"ok"}


def test_the_plan_is_that_of_a_whole_sequence():
    model, batch = stack(), Batch((ids(batch=3, tokens=LONG),))
    short, _ = planning.traced(model, batch, most_tokens=FEW_TOKENS)
    whole, _ = planning.traced(model, batch)
    assert plan(short) == plan(whole)


def test_a_model_that_runs_otherwise_with_more_tokens_is_traced_again(traced):
    torch.manual_seed(0)
    batch = torch.randint(100, (2, LONG))
    report = rankscope.probe(Recurrent(), batch, measures="forward")
    assert traced == [(1, FEW_TOKENS), (1, LONG)]
    assert "RS425" not in {note.code for note in report.notes}
    assert report.inputs["sequences"] == 2
    assert {row.sequences for row in report.rows if row.site == "block"} == {2}, "none is counted twice"


def test_a_model_of_one_length_is_traced_whole(traced):
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm([LONG, 8])) for _ in range(3)))

        def forward(self, x):
            return self.blocks(x)

    report = rankscope.probe(Fixed(), torch.randn(2, LONG, 8), measures="mu_bar")
    assert traced == [(1, FEW_TOKENS, 8), (1, LONG, 8)]
    assert {row.status for row in report.rows} == {"ok"}


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((torch.zeros(2, 9, dtype=torch.int64),), {}),
        ((torch.zeros(2, LONG, LONG),), {}),
        ((torch.zeros(2, LONG, 8), torch.zeros(LONG, LONG)), {}),
        ((torch.zeros(2, LONG, 8),), {"mask": torch.zeros(2, 1, LONG, LONG)}),
        ((torch.zeros(2, 3, LONG, LONG),), {}),
        ((torch.zeros(LONG, 8),), {}),
    ],
    ids=["short", "as wide as long", "square mask", "mask by head", "image", "one sequence of features"],
)
def test_what_may_be_cut_wrongly_is_not_cut(args, kwargs):
    batch = Batch(args, kwargs)
    assert first_tokens(batch, FEW_TOKENS, axes(batch, None)) is None


def test_masks_are_cut_with_the_tokens():
    mask = torch.ones(2, LONG, dtype=torch.bool)
    batch = Batch(
        (torch.zeros(2, LONG, dtype=torch.int64),), {"attention_mask": mask, "scale": 2.0}, {"attention_mask": mask}
    )
    cut = first_tokens(batch, FEW_TOKENS, axes(batch, None))
    assert (
        cut.args[0].shape == cut.kwargs["attention_mask"].shape == cut.keep["attention_mask"].shape == (2, FEW_TOKENS)
    )
    assert cut.kwargs["scale"] == 2.0
