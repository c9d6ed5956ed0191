"""Places: stacks, globs, leaves; what is left out is said."""

import pytest
import torch
from nets import Attention, PreNorm, Shared, Stack, ids
from torch import nn

from rankscope.capture.plan import MODULES, NO_ATTENTION, plan
from rankscope.capture.trace import trace
from rankscope.errors import CaptureError
from rankscope.records import Batch


def traced(model, *args):
    with torch.no_grad():
        return trace(model.eval(), Batch(args))


def names(found):
    return [layer.name for layer in found.layers]


def test_a_stack_begins_with_the_input_of_its_first_block():
    found = plan(traced(Stack([PreNorm(16) for _ in range(2)]), ids()))
    assert names(found) == ["blocks.0.input", "blocks.0", "blocks.1"]
    assert [layer.index for layer in found.layers] == [0, 1, 2]
    assert {layer.stack for layer in found.layers} == {"blocks.*"}


def test_calls_of_one_module_are_numbered():
    found = plan(traced(Shared(PreNorm(16), 3), ids()))
    assert names(found) == ["blocks.0#1.input", "blocks.0#1", "blocks.0#2", "blocks.0#3"]
    assert [place.call for place in found.places] == [0, 0, 1, 2]


def test_globs_choose_and_leave_out():
    watched = traced(Stack([PreNorm(16) for _ in range(3)]), ids())
    assert names(plan(watched, ["blocks.*.norm"])) == ["blocks.0.norm.input", *(f"blocks.{i}.norm" for i in range(3))]
    found = plan(watched, skip_layers=["blocks.1"])
    assert names(found) == ["blocks.0.input", "blocks.0", "blocks.2"]
    assert found.skipped == {"blocks.1": "left out by --skip-layers"}


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.used(x)


def test_a_glob_that_matches_nothing_or_only_the_idle():
    watched = traced(Idle(), torch.randn(2, 5, 4))
    with pytest.raises(CaptureError, match=r"'usd' matches no module.*\[RS422\]") as caught:
        plan(watched, ["usd"])
    assert "used" in str(caught.value)
    with pytest.raises(CaptureError, match=r"none of the 1 modules .*\[RS423\]"):
        plan(watched, ["idle"])
    assert plan(watched, ["*"]).skipped == {"idle": "it never ran"}
    with pytest.raises(CaptureError, match="RS421"):
        plan(watched, skip_layers=["*"])


def test_without_a_stack_every_leaf_is_measured():
    found = plan(traced(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.randn(5, 4)))
    assert names(found) == ["0.input", "0", "1"]
    assert {layer.stack for layer in found.layers} == {MODULES}
    assert [note.code for note in found.notes] == ["RS420"]


def test_values_belong_to_the_block_in_which_attention_runs():
    found = plan(traced(Stack([Attention(16, eager=True), PreNorm(16), Attention(16)]), ids()))
    assert {place.layer.name for place in found.values.values()} == {"blocks.0", "blocks.2"}
    assert found.no_values == {("blocks.*", 2): NO_ATTENTION}


def test_a_stack_without_residual_adds_is_told():
    found = plan(traced(Stack([Attention(16, skip=False) for _ in range(2)]), ids()))
    assert [note.code for note in found.notes] == ["RS424"]
    assert plan(traced(Stack([Attention(16) for _ in range(2)]), ids())).notes == ()


def test_cross_attention_is_not_the_value_of_a_decoder_layer():
    source, target = torch.randn(2, 6, 16), torch.randn(2, 6, 16)
    found = plan(traced(nn.Transformer(16, 2, 2, 2, 32, batch_first=True), source, target))
    layers = [(place.layer.stack, place.layer.index) for place in found.values.values()]
    assert layers == [
        ("encoder.layers.*", 1),
        ("encoder.layers.*", 2),
        ("decoder.layers.*", 1),
        ("decoder.layers.*", 2),
    ]


def test_names_of_layers_are_safe_to_print():
    model = Stack([PreNorm(16) for _ in range(2)])
    model.blocks = nn.Sequential()
    evil = nn.Sequential(*[PreNorm(16) for _ in range(2)])
    model.add_module("\x1b[31m[/foo]\n", evil)
    model.forward = lambda x: evil(model.embed(x))
    assert all(name.isprintable() for name in names(plan(traced(model, ids()))))
