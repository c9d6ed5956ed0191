"""A probe of an edited model tells V_n as the model makes it and V'_n as attention gets it."""

import pytest
import torch
from by_hand import Net, ids
from torch import nn

import rankscope
from rankscope.capture.plan import plan
from rankscope.capture.session import forward, undisturbed
from rankscope.capture.trace import trace
from rankscope.interventions import as_edits, in_force, make
from rankscope.records import Batch


def observed(model, text, given):
    """V_n and V'_n by layer, and the values that the edit was made of."""
    seen, batch = {}, Batch((given,))
    with undisturbed(model), torch.no_grad():
        found = plan(trace(model, batch))
        made = make(model, found, batch, as_edits(text))
        keep = lambda place, value, mixed: seen.__setitem__(place.layer.index, (value.clone(), mixed.clone()))  # noqa: E731
        with in_force(model, found, made.actions):
            forward(model, batch, found, lambda place, tensor: None, keep)
    return seen


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_values_of_attention_calls(attention):
    seen = observed(Net(attention=attention), "value_residual=0.3,0.9@2..3", ids())
    first = seen[1][0]
    assert torch.equal(*seen[1])
    for index in (2, 3):
        value, mixed = seen[index]
        torch.testing.assert_close(mixed, 0.3 * first + 0.9 * value)


class Linear(nn.Module):
    """A block whose values only a projection tells."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.value = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        return x + self.q(x).sigmoid() * (self.k(x).exp() * self.value(x)).cumsum(1)


@pytest.mark.parametrize("edit", ["value_residual=0.3,0.9", "svformer"])
def test_values_of_projections(edit):
    torch.manual_seed(0)
    model = nn.Sequential(*(Linear() for _ in range(3)))
    seen = observed(model, edit, torch.randn(2, 7, 8))
    first = seen[1][0]
    assert torch.equal(*seen[1])
    for index in (2, 3):
        value, mixed = seen[index]
        torch.testing.assert_close(mixed, first if edit == "svformer" else 0.3 * first + 0.9 * value)
        assert not torch.allclose(value, mixed)


def test_a_report_holds_both():
    report = rankscope.probe(
        "zoo:transformer,depth=3,width=16,heads=2+svformer",
        random="x=2x9:int64:0..255",
        measures=["value_cosine", "value_cosine_mixed"],
    )
    rows = {(row.measure, row.layer_index): row.value for row in report.rows}
    assert [rows["value_cosine_mixed", index] for index in (1, 2, 3)] == pytest.approx([1, 1, 1])
    assert all(abs(rows["value_cosine", index]) < 0.9 for index in (2, 3))
