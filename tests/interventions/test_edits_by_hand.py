"""Every edit but those of the skip: as the same change made in the code of the model, outputs and gradients."""

import pytest
import torch
from by_hand import Net, ids
from handwritten import Mixer, stack
from torch import nn
from torch.utils.checkpoint import checkpoint

import rankscope
from rankscope.errors import CaptureError

ALL = ()
FORMS = {
    "pre-norm": {},
    "post-norm": {"post": True},
    "in place": {"inplace": True},
    "parallel": {"parallel": True},
    "gated MLP": {"glu": True},
    "eager": {"attention": "eager"},
    "einsum": {"attention": "einsum"},
    "grouped queries": {"attention": "grouped", "kv": 2},
    "repeated heads": {"kv": 2},
    "one key-value head, eager": {"attention": "eager", "kv": 1},
}
EDITS = {  # as typed -> by hand
    "no_mlp": {"no_mlp": (True, ALL)},
    "no_mlp@2": {"no_mlp": (True, [2])},
    "no_attention@2..3": {"no_attention": (True, [2, 3])},
    "no_norm": {"no_norm": (True, ALL)},
    "no_norm@last": {"no_norm": (True, [3])},
    "value_residual=0.3,0.9": {"value_residual": ((0.3, 0.9), ALL)},
    "value_residual=2,1@3": {"value_residual": ((2, 1), [3])},
    "svformer": {"svformer": (True, ALL)},
    "neutreno": {"neutreno": (0.4, ALL)},
    "neutreno=0.7@2": {"neutreno": (0.7, [2])},
    "drop@2": {"drop": (True, [2])},
    "scale=1.5@1": {"scale": (1.5, [1])},
    "no_mlp@1+no_norm+svformer@3": {"no_mlp": (True, [1]), "no_norm": (True, ALL), "svformer": (True, [3])},
}
NEUTRAL = ["value_residual=0,1", "neutreno=0", "scale=1", "noise=0"]


def gradients(model, run=lambda model: model(ids())):
    model.zero_grad()
    output = run(model)
    output.square().sum().backward()
    return output.detach(), [None if p.grad is None else p.grad.clone() for p in model.parameters()]


def same(one, other, tolerance=1e-5):
    for a, b in zip(one, other, strict=True):
        a, b = (torch.zeros(1) if x is None else x for x in (a, b))
        torch.testing.assert_close(*torch.broadcast_tensors(a, b), rtol=tolerance, atol=tolerance)


OF_VALUES = ("value", "svformer", "neutreno")
WRITTEN_OTHERWISE = ["eager", "einsum", "grouped queries", "repeated heads", "one key-value head, eager"]  # attention
PAIRS = [(e, f) for e in EDITS for f in FORMS if e.startswith(OF_VALUES) or f not in WRITTEN_OTHERWISE]


@pytest.mark.parametrize(("edit", "form"), [(e, f) for e, f in PAIRS if "@" not in e or f in {"pre-norm", "post-norm"}])
def test_an_edit_is_the_change_made_by_hand(edit, form):
    model = Net(**FORMS[form])
    plain = model(ids())
    with rankscope.edit(model, edit, ids()):
        edited, slopes = gradients(model)
    assert torch.equal(model(ids()), plain)
    expected, wanted = gradients(model.by_hand(**EDITS[edit]))
    assert not torch.allclose(expected, plain, atol=1e-4)
    torch.testing.assert_close(edited, expected, rtol=1e-5, atol=1e-5)
    same(slopes, wanted)


@pytest.mark.parametrize("norm", ["module", "written", "function", "inline"])
@pytest.mark.parametrize("post", [False, True])
def test_norms_are_left_out_however_they_are_written(norm, post):
    model = Net(norm=norm, post=post)
    with torch.no_grad(), rankscope.edit(model, "no_norm", ids()) as told:
        edited = model(ids())
    assert told[0].startswith("no_norm: 6 norms")
    torch.testing.assert_close(edited, model.by_hand(no_norm=(True, ALL))(ids()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", [{}, {"attention": "eager"}, {"glu": True}, {"post": True}])
def test_the_gate_of_a_mixer_is_left_out_and_that_of_an_mlp_stays(form):
    model = Net(gated=True, **form)
    with torch.no_grad(), rankscope.edit(model, "no_gate@1..2", ids()) as told:
        edited = model(ids())
    assert told == ("no_gate@1..2: 2 gates in 2 layers",)
    torch.testing.assert_close(edited, model.by_hand(no_gate=(True, [1, 2]))(ids()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("edit", NEUTRAL)
@pytest.mark.parametrize("form", ["pre-norm", "eager", "grouped queries"])
def test_a_neutral_argument_changes_no_bit(edit, form):
    model = Net(**FORMS[form])
    expected, wanted = gradients(model)
    with rankscope.edit(model, edit, ids()):
        edited, slopes = gradients(model)
    assert torch.equal(edited, expected)
    assert all(x is y or torch.equal(x, y) for x, y in zip(slopes, wanted, strict=True))


@pytest.mark.parametrize("edit", [*EDITS, "noise=0.1"])
def test_edits_run_in_bfloat16_and_inference_mode(edit):
    model = Net().bfloat16()
    with rankscope.edit(model, edit, ids()):
        with torch.inference_mode():
            assert model(ids()).dtype == torch.bfloat16
        assert torch.isfinite(model(ids())).all()


def test_trained_factors_of_a_value_residual_get_gradients():
    from rankscope.interventions.value_residual import value_residual

    model, one, two = Net(), *(torch.tensor(x, requires_grad=True) for x in (0.3, 0.9))
    with rankscope.edit(model, value_residual(lam1=one, lam2=two), ids()):
        model(ids()).square().sum().backward()
    slopes = one.grad, two.grad
    hand = [torch.tensor(x, requires_grad=True) for x in (0.3, 0.9)]
    model.by_hand(value_residual=(hand, ALL))(ids()).square().sum().backward()
    same(slopes, [x.grad for x in hand])


@pytest.mark.parametrize("edit", ["value_residual=0.3,0.9", "neutreno", "svformer", "no_mlp", "scale=1.5@1", "drop@2"])
def test_checkpointed_blocks_get_the_same_gradients(edit):
    model = Net()
    with rankscope.edit(model, edit, ids()):
        expected = gradients(model)
        model.wrap = lambda block, *given: checkpoint(block, *given, use_reentrant=False)
        found = gradients(model)
    torch.testing.assert_close(found[0], expected[0])
    same(found[1], expected[1])


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpoints_cut_the_gradient_of_the_first_values():
    model = Net()
    model.wrap = lambda block, *given: checkpoint(block, *given, use_reentrant=True)
    with rankscope.edit(model, "value_residual", ids()), pytest.raises(CaptureError, match="reentrant") as caught:
        gradients(model)
    assert caught.value.code == "RS466"


def test_noise_is_relative_and_the_same_in_every_pass():
    model, seen = Net(), []
    model.blocks[1].register_forward_hook(lambda m, args, out: seen.append(out[0]))
    with torch.no_grad():
        plain = model(ids())
        state = torch.get_rng_state()
        for edit in ("noise=0.1@2", "noise=0.1@2", "noise=0.2@2", "noise=0.1,seed=1@2"):
            with rankscope.edit(model, edit, ids()):
                outputs = [model(ids()), model(ids())]
            assert torch.equal(*outputs)
            assert not torch.allclose(outputs[0], plain, atol=1e-3)
            seen.append(outputs[0])
        assert torch.equal(torch.get_rng_state(), state)


def test_the_size_of_the_noise():
    from rankscope.interventions.noise import noise

    model = Net()
    outputs = {}
    model.head = torch.nn.Identity()
    for sigma in (0.0, 0.1, 0.2):
        with torch.no_grad(), rankscope.edit(model, noise(sigma=sigma) @ "last", ids(32, 9)):
            outputs[sigma] = model(ids(32, 9))
    one, two = (outputs[s] - outputs[0.0] for s in (0.1, 0.2))
    torch.testing.assert_close(2 * one, two, rtol=1e-4, atol=1e-5)
    ratio = one.norm(dim=-1) / outputs[0.0].norm(dim=-1)
    assert ratio.mean() == pytest.approx(0.1, rel=0.05)
    flat = one.flatten(0, 1) / one.norm(dim=-1).flatten()[:, None]
    assert (flat @ flat.T - torch.eye(len(flat))).abs().mean() < 0.3  # no direction is common


REFUSED = {  # edit -> (form, code)
    "no_gate": ({"glu": True}, "RS461"),
    "no_mlp@4": ({}, "RS451"),
    "no_mlp": ({"depth": 1}, "RS460"),
    "value_residual=0.5,0.5@1": ({}, "RS467"),
    "svformer": ({"depth": 1}, "RS467"),
}


@pytest.mark.parametrize("edit", REFUSED)
def test_what_finds_nothing_is_refused(edit):
    form, code = REFUSED[edit]
    model = Net(**form)
    with pytest.raises(CaptureError) as caught, rankscope.edit(model, edit, ids()):
        raise AssertionError("it was not refused")
    assert caught.value.code == code


def test_everything_is_gone_after_an_exception():
    model = Net()
    plain = model(ids())
    text = "no_norm+no_mlp@1+value_residual+drop@2+noise=0.1"

    def failing():
        with rankscope.edit(model, text, ids()):
            model(ids())
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        failing()
    assert torch.equal(model(ids()), plain)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_an_edit_acts_on_is_told_inside_and_outside_the_layers():
    model = stack(Mixer).eval()
    with torch.no_grad():
        for edit, told in (("no_mlp", "3 MLPs in 3 layers"), ("no_attention", "3 mixers in 3 layers")):
            x = torch.randn(2, 16, 32)
            by_hand = x
            for block in model.children():
                by_hand = by_hand + (block.tokens(by_hand.mT).mT if edit == "no_mlp" else block.features(by_hand))
            with rankscope.edit(model, edit, x) as found:
                assert torch.allclose(model(x), by_hand, atol=1e-5)
            assert found == (f"{edit}: {told}",)
    net = nn.Sequential(model, nn.LayerNorm(32)).eval()
    with rankscope.edit(net, "no_norm", torch.randn(2, 16, 32)) as found:
        net(torch.randn(2, 16, 32))
    assert found == ("no_norm: 6 norms in 3 layers and 1 outside them",)


def test_without_a_sum_no_choice_of_sums_is_advised():
    model, x = nn.Sequential(*(nn.Linear(8, 8) for _ in range(3))), torch.randn(2, 4, 8)
    with pytest.raises(CaptureError) as raised, rankscope.edit(model, "no_skip", x):
        pass
    assert raised.value.code == "RS450"
    assert [label for label, _ in raised.value.remedies] == ["Look at what was recognised"]


def test_the_edits_as_functions():
    from rankscope import editing

    assert str(editing.lambda_skip(lam=2.0)) == "lambda_skip=2"
    with pytest.raises(AttributeError, match="no attribute 'lambda_skp'"):
        _ = editing.lambda_skp
