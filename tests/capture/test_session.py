"""A measured pass leaves no trace, whatever happens."""

import pytest
import torch
from nets import PreNorm, Stack, ids
from torch import nn

from rankscope.capture.plan import plan
from rankscope.capture.session import call, forward, undisturbed
from rankscope.capture.trace import trace
from rankscope.errors import CaptureError
from rankscope.records import Batch


def planned(model, *args):
    with torch.no_grad(), undisturbed(model):
        return plan(trace(model, Batch(args)))


def state(model):
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    modes = [m.training for m in model.modules()]
    attributes = [sorted(vars(m)) for m in model.modules()]
    return hooks, modes, attributes, torch.backends.mha.get_fastpath_enabled(), torch.get_rng_state().tolist()


def test_outputs_are_those_of_an_unhooked_forward():
    model = Stack([PreNorm(16) for _ in range(3)]).eval()
    found, seen = planned(model, ids()), []
    plain = model(ids())
    assert torch.equal(
        forward(model, Batch((ids(),)), found, lambda place, tensor: seen.append(place.layer.name)), plain
    )
    assert seen == ["blocks.0.input", "blocks.0", "blocks.1", "blocks.2"]


def test_the_encoder_of_torch_is_measured_without_its_fast_path():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    x, mask = torch.randn(2, 6, 16), torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    found, seen = planned(model, x), []
    with undisturbed(model), torch.no_grad():
        forward(model, Batch((x,), {"src_key_padding_mask": mask}), found, lambda place, t: seen.append(t.is_nested))
    assert seen == [False, False, False]


@pytest.mark.parametrize("failure", [None, ValueError, KeyboardInterrupt])
def test_everything_is_restored(failure):
    class Fails(nn.Module):
        def forward(self, x):
            if failure and Fails.armed:
                raise failure("half-way")
            return x + torch.rand(1)

    Fails.armed = False
    model = Stack([PreNorm(16), PreNorm(16), PreNorm(16)])
    model.train()
    model.blocks[0].eval()
    model.blocks.append(Fails())
    found, before = planned(model, ids()), state(model)
    Fails.armed = True
    expected = {None: None, ValueError: CaptureError, KeyboardInterrupt: KeyboardInterrupt}[failure]
    with undisturbed(model), torch.no_grad():
        if expected is None:
            forward(model, Batch((ids(),)), found, lambda place, tensor: None)
        else:
            with pytest.raises(expected):
                forward(model, Batch((ids(),)), found, lambda place, tensor: None)
    assert state(model) == before


def test_a_model_that_raises_is_told_in_the_users_terms():
    model = Stack([PreNorm(16), PreNorm(16)])
    with pytest.raises(CaptureError, match=r"IndexError: index out of range in self.*\[RS401\]") as caught:
        forward(model, Batch((ids() + 99,)), planned(model, ids()), lambda place, tensor: None)
    assert "int64[2, 9]" in str(caught.value)


def test_targets_go_to_the_model_only_where_it_takes_them():
    model = Stack([PreNorm(16), PreNorm(16)])
    forward(model, Batch((ids(),), {"labels": ids()}), planned(model, ids()), lambda place, tensor: None)


def test_inputs_that_run_are_offered_where_those_given_do_not():
    model = Stack([PreNorm(16), PreNorm(16)])
    with pytest.raises(CaptureError) as caught:
        call(model, Batch((torch.randn(2, 5, 3),)), suggest=True)
    label, flags = caught.value.remedies[0]
    assert (label, flags.split("=")[1]) == ("The model was seen to run on", "8x128:int64:0..10'")


@pytest.mark.parametrize("error", [MemoryError("full"), RuntimeError("[enforce fail] DefaultCPUAllocator: can't")])
def test_memory_that_ran_out_is_told_as_such(error):
    class Large(nn.Module):
        def forward(self, x):
            raise error

    with pytest.raises(CaptureError, match=r"ran out of memory \[RS901\]"):
        call(Large(), Batch((torch.zeros(2, 2),)))
