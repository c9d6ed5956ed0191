"""The engine: order, checkpointing, run modes, what it refuses, and that nothing is left behind."""

import copy

import pytest
import torch
from nets import PreNorm, Stack, ids
from torch import nn
from torch.utils.checkpoint import checkpoint

import rankscope
from rankscope.errors import CaptureError, UsageError
from rankscope.interventions import AtStart, in_force
from rankscope.interventions.lambda_skip import lambda_skip
from rankscope.interventions.no_skip import no_skip

# Said by reentrant checkpoints of every pass without gradients.
pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")


class Block(nn.Module):
    """x + f(x), where the skip is multiplied by hand."""

    def __init__(self, lam=1.0):
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.lam = lam

    def forward(self, x):
        f = self.outer(torch.tanh(self.inner(self.norm(x))))
        return (x if self.lam is None else self.lam * x) + f


class Net(nn.Module):
    """Blocks one after the other, or one block again and again; each, or pairs of them, may be checkpointed."""

    def __init__(self, shared=False, lam=None, how=None, span=1):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(16, 16)
        lams = lam or [None] * 4
        if shared:
            block = Block()
            self.blocks = nn.ModuleList([block] * 4)
            self.lams = lams
        else:
            self.blocks, self.lams = nn.ModuleList(Block(each) for each in lams), None
        self.how, self.span = how, span

    def run(self, first, x):
        for k in range(first, first + self.span):
            if self.lams:
                self.blocks[k].lam = self.lams[k]
            x = self.blocks[k](x)
        return x

    def forward(self, x):
        x = self.embed(x)
        for k in range(0, 4, self.span):
            x = self.run(k, x) if self.how is None else checkpoint(self.run, k, x, use_reentrant=self.how == "old")
        return x


def x(dtype=torch.float32):
    return torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(1)).to(dtype)


def run(model, edits, then=lambda: None, **options):
    """Do something under edits; gives what they act on."""
    with rankscope.edit(model, edits, x(), **options) as told:
        then()
    return told


def grads(model, data):
    data = data.clone().requires_grad_()
    y = model(data)
    y.square().sum().backward()
    found = [data.grad, *(p.grad for p in model.parameters())]
    model.zero_grad()
    return y.detach(), found


@pytest.mark.parametrize("span", [1, 2])
@pytest.mark.parametrize("how", ["old", "new"])
def test_checkpointed_gradients_are_those_of_the_edited_model(how, span):
    lams = [0.5, 2.0, -1.0, 3.0]
    expected = grads(Net(lam=lams), x())
    model = Net(how=how, span=span)
    with rankscope.edit(model, "lambda_skip=0.5,2,-1,3", x()):
        found = grads(model, x())
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(a, b) for a, b in zip(found[1], expected[1], strict=True))


@pytest.mark.parametrize("span", [1, 2, 4])
@pytest.mark.parametrize("how", ["old", "new"])
def test_one_block_called_four_times_and_checkpointed(how, span):
    """The hits of one place are told apart, also where several of them lie in one region."""
    lams = [0.5, 2.0, -1.0, 3.0]
    model = Net(shared=True, how=how, span=span)
    plain = Net(shared=True, how=None)
    with rankscope.edit(plain, "lambda_skip=0.5,2,-1,3", x()):
        expected = grads(plain, x())
    with rankscope.edit(model, "lambda_skip=0.5,2,-1,3", x()):
        found = grads(model, x())
    by_hand = Net(shared=True, lam=lams)
    assert torch.allclose(expected[0], by_hand(x()), atol=1e-6)
    assert torch.equal(found[0], expected[0])  # gradients of the one block are added up in another order
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(found[1], expected[1], strict=True))


@pytest.mark.parametrize("how", ["old", "new"])
def test_two_forward_passes_before_one_backward_pass(how):
    def loss(model):
        return model(x().requires_grad_()).square().sum() + model(2 * x().requires_grad_()).square().sum()

    plain, model = Net(lam=[0.5] * 4), Net(how=how)
    loss(plain).backward()
    with rankscope.edit(model, "lambda_skip=0.5", x()):
        loss(model).backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("how", ["old", "new"])
def test_a_backward_pass_after_the_edit_is_refused(how):
    model = Net(how=how)
    with pytest.raises(CaptureError, match="before the backward pass") as raised:
        run(model, "no_skip", lambda: model(x().requires_grad_()))
    assert raised.value.code == "RS454"
    with torch.no_grad(), rankscope.edit(model, "no_skip", x()):
        model(x())
    with rankscope.edit(model, "no_skip", x()):
        torch.autograd.grad(model(x().requires_grad_()).sum(), model.embed.weight) if how == "new" else model(
            x().requires_grad_()
        ).sum().backward()


def test_a_backward_pass_of_an_unedited_forward_pass_stays_unedited():
    model = Net(how="new")
    expected = grads(model, x())
    data = x().requires_grad_()
    loss = model(data).square().sum()
    with rankscope.edit(model, "no_skip", x()):
        loss.backward()
        model(x().detach()).sum().backward()
    assert torch.equal(data.grad, expected[1][0])


def test_without_checkpointing_a_late_backward_pass_is_right():
    model, twin = Net(), Net(lam=[2.0] * 4)
    with rankscope.edit(model, "lambda_skip=2", x()):
        loss = model(x()).square().sum()
    loss.backward()
    twin(x()).square().sum().backward()
    assert torch.allclose(model.embed.weight.grad, twin.embed.weight.grad)


def test_edits_act_in_order_and_contexts_nest():
    model = Net().eval()
    with rankscope.edit(model, "lambda_skip=2+lambda_skip=3@1", x()) as told:
        both = model(x())
    assert told[1] == "lambda_skip=3@1: 1 residual add in 1 layer"
    assert torch.allclose(both, Net(lam=[6.0, 2.0, 2.0, 2.0])(x()))
    with rankscope.edit(model, "lambda_skip=2", x()), rankscope.edit(model, "lambda_skip=3@1", x()):
        assert torch.allclose(model(x()), both)
    with rankscope.edit(model, no_skip() @ "1..2" + lambda_skip(lam=2.0) @ 3, x()) as told:
        assert torch.allclose(model(x()), Net(lam=[0.0, 0.0, 2.0, 1.0])(x()))
    assert told == ("no_skip@1..2: 2 residual adds in 2 layers", "lambda_skip=2@3: 1 residual add in 1 layer")


def test_lambda_is_trained_on_a_frozen_model():
    model, twin = Net().requires_grad_(False), Net(lam=[0.5, 1.5, 2.5, 0.0])
    lam = nn.Parameter(torch.ones(4))
    optimiser, target = torch.optim.Adam([lam], lr=0.05), twin(x()).detach()
    with rankscope.edit(model, lambda_skip(lam=lam), x()) as told:
        for _ in range(60):
            loss = (model(x()) - target).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert told == ("lambda_skip=learned[4]: 4 residual adds in 4 layers",)
    untrained = (Net()(x()) - target).square().mean()
    assert loss < 0.05 * untrained
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_no_skip_leaves_no_nan_and_zero_does():
    model = Net().eval()
    model.blocks[1].register_forward_pre_hook(lambda _, args: (args[0] * 1,))

    class Spoiled(nn.Module):
        def forward(self, y):
            return torch.tanh(torch.nan_to_num(y))

    model.blocks[0].norm = Spoiled()
    model.embed.weight.data[0] = torch.nan
    with torch.no_grad(), rankscope.edit(model, "no_skip", x()):
        assert not model(x()).isnan().any()
    with torch.no_grad(), rankscope.edit(model, "lambda_skip=0", x()):
        assert model(x()).isnan().any()


@pytest.mark.parametrize("mode", ["inference", "training", "autocast", "bfloat16", "compiled"])
def test_run_modes(mode):
    dtype = torch.bfloat16 if mode == "bfloat16" else torch.float32
    model, twin, data = Net().to(dtype).train(mode == "training"), Net(lam=[2.0] * 4).to(dtype), x(dtype)
    if mode == "compiled":
        model = torch.compile(model, backend="eager")
        model(data)
    context = {
        "inference": torch.inference_mode,
        "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    }.get(mode, torch.enable_grad)
    with context():
        expected, plain = twin(data), Net().to(dtype)(data)
        with rankscope.edit(model, "lambda_skip=2", data):
            assert torch.allclose(model(data), expected, atol=1e-6)
        with rankscope.edit(model, "lambda_skip=1", data):
            assert torch.equal(model(data), plain)
        assert torch.equal(model(data), plain)


def test_a_plan_of_few_tokens_serves_other_batches():
    model, twin = Net().eval(), Net(lam=[2.0] * 4).eval()
    with torch.no_grad(), rankscope.edit(model, "lambda_skip=2", torch.randn(1, 3, 16)):
        for shape in ((5, 40, 16), (1, 1, 16), (2, 3, 4, 16)):
            data = torch.randn(shape)
            assert torch.allclose(model(data), twin(data), atol=1e-5)


def test_everything_is_gone_afterwards_also_after_an_exception():
    model = Net().eval()
    before, plain = copy.deepcopy(model.state_dict()), model(x())

    def hooks():
        return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]

    clean = hooks()
    with pytest.raises(ZeroDivisionError):
        run(model, "no_skip", lambda: model(x()).sum() / (1 // 0))
    with pytest.raises(RuntimeError, match="shapes"):
        run(model, "no_skip", lambda: model(torch.randn(2, 7, 5)))
    assert hooks() == clean
    assert torch._C._len_torch_function_stack() == 0
    assert torch.equal(model(x()), plain)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_another_model_or_another_path_raises():
    model, other = Net().eval(), Net().eval()
    with pytest.raises(CaptureError, match="never ran while its edits were in force") as raised:
        run(model, "no_skip", lambda: other(x()))
    assert raised.value.code == "RS457"
    with pytest.raises(CaptureError, match="never ran"):
        run(model, "no_skip", lambda: None)
    with pytest.raises(ZeroDivisionError):
        run(model, "no_skip", lambda: 1 // 0)

    def shorter():
        model.blocks[3] = nn.Identity()
        model(x())

    with pytest.raises(CaptureError, match="1 of the 4 places of the edit were not reached"):
        run(model, "no_skip", shorter)
    again = Net().eval()

    def twice():
        part = again.run
        again.run = lambda first, data: part(first, part(first, data))
        again(x())

    with pytest.raises(CaptureError, match="4 of the 4 places of the edit ran more often"):
        run(again, "no_skip", twice)


def test_parts_may_be_called_by_themselves():
    model, twin = Net().eval(), Net(lam=[2.0] * 4).eval()
    with rankscope.edit(model, "lambda_skip=2", x()):
        y = x()
        for block in model.blocks:
            y = block(y)
        model(x())
    expected = x()
    for block in twin.blocks:
        expected = block(expected)
    assert torch.allclose(y, expected)


def test_an_edit_that_finds_nothing_says_why():
    bare = nn.Sequential(*(nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(3)))
    with pytest.raises(CaptureError, match="finds nothing to act on") as raised:
        run(bare, "no_skip")
    assert raised.value.code == "RS450"
    with pytest.raises(CaptureError, match="finds no layer") as raised:
        run(Net(), "no_skip@7")
    assert raised.value.code == "RS451"
    assert ("layers", "blocks.*: 1..4") in raised.value.details


def test_sums_can_be_chosen():
    model = Net().eval()
    with rankscope.edit(model, "lambda_skip=2", x(), choose=lambda add: add.layer.index == 2) as told:
        y = model(x())
    assert told == ("lambda_skip=2: 1 residual add in 1 layer",)
    assert torch.allclose(y, Net(lam=[1.0, 2.0, 1.0, 1.0])(x()))


@pytest.mark.parametrize(
    ("edits", "options", "wrong"),
    [
        ("lambda_skp=2", {}, "unknown edit 'lambda_skp'"),
        ("lambda_skip=1,2", {}, "lam has 2 values, expected 1"),
        (lambda_skip(lam=torch.ones(2, 2)), {}, r"a tensor of shape \[2, 2\]"),
        ("no_skip", {"leyout": "btd"}, "unknown option 'leyout'"),
        ([], {}, "no edit was named"),
    ],
)
def test_what_cannot_be_meant_is_refused(edits, options, wrong):
    with pytest.raises(UsageError, match=wrong):
        run(Net(), edits, **options)


def test_a_file_is_no_live_model():
    with pytest.raises(UsageError, match="takes a live module"):
        run("model.pt", "no_skip")


def test_a_scripted_part_is_refused():
    model = Net().eval()
    with pytest.warns(DeprecationWarning, match="trace"):
        model.blocks[1] = torch.jit.trace(model.blocks[1], x())
    with pytest.raises(CaptureError, match="TorchScript"):
        run(model, "no_skip")


def test_copies_in_threads_are_refused():
    model = nn.DataParallel(Net())
    model.device_ids = [0, 1]
    with pytest.raises(CaptureError, match="threads") as raised:
        run(model, "no_skip")
    assert raised.value.code == "RS455"


def test_ids_pass_through_an_inplace_net():
    torch.manual_seed(0)
    model = Stack([PreNorm(16, inplace=True) for _ in range(3)]).eval()
    with torch.no_grad(), rankscope.edit(model, "lambda_skip=1", ids()):
        assert torch.equal(model(ids()), model(ids()))


def test_something_runs_when_a_forward_pass_begins():
    model, begun = Net(how="new"), []
    from rankscope.capture.plan import plan
    from rankscope.capture.trace import trace
    from rankscope.records import Batch

    found = plan(trace(model, Batch((x(),))))
    with in_force(model, found, [AtStart(lambda: begun.append(1))]):
        model(x().requires_grad_()).sum().backward()
        model(x())
    assert len(begun) == 2
