"""Modes that a model runs in, or calls for itself: the numbers are those of the plain model, and nothing is left."""

import dataclasses
import threading

import pytest
import torch
from nets import Attention, Experts, PreNorm, Stack, ids
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import rankscope
from rankscope.errors import CaptureError
from rankscope.reduction import Reduction

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, of nested tensors and checkpoints


def net(kind=Stack, wrap=lambda block: block):
    """The same weights in any class of stack, each block wrapped."""
    torch.manual_seed(0)
    blocks = [PreNorm(16), Attention(16), PreNorm(16)]
    model = kind(blocks)
    model.blocks = nn.ModuleList(wrap(block) for block in blocks)
    return model


def probe(model, inputs=None, measures="quick", **options):
    return rankscope.probe(model, ids() if inputs is None else inputs, measures=measures, **options)


@pytest.fixture(scope="module")
def plain():
    return probe(net()).rows


def numbers(rows):
    """Values by place and measure, without the names of parameters, which a wrapper lengthens."""
    return [(row.layer_index, row.site, row.measure, row.status, row.value, row.samples) for row in rows]


def of(report, *sites):
    return [row for row in report.rows if row.site in sites]


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


# Training flags, buffers, tied weights


def test_only_what_trains_trains_again_and_running_statistics_stay():
    model = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(9), nn.Dropout(), nn.Linear(16, 16))
    model[2].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = probe(model, torch.ones(2, 9, 16) + torch.randn(2, 9, 16), measures="mu_bar")
    assert [part.training for part in model] == [True, True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert first.coverage.measured == 5


class Trains(nn.Module):
    """Goes into training mode by itself, and moves its statistics."""

    def __init__(self):
        super().__init__()
        self.inner, self.norm = nn.Linear(16, 16), nn.BatchNorm1d(16)

    def forward(self, x):
        self.train()
        return self.norm(self.inner(x).transpose(1, 2)).transpose(1, 2)


def test_a_model_that_trains_itself_keeps_its_statistics_and_flags():
    model = Trains().eval()
    mean, steps = model.norm.running_mean.clone(), int(model.norm.num_batches_tracked)
    probe(model, torch.randn(2, 9, 16))
    assert torch.equal(model.norm.running_mean, mean)
    assert int(model.norm.num_batches_tracked) == steps
    assert not any(module.training for module in model.modules())


class Merges(nn.Linear):
    """Merges its weights in eval(), as adapters do."""

    def train(self, mode=True):
        self.weight.data += 1.0 if not mode else 0.0
        return super().train(mode)


def test_modes_are_set_without_the_train_method_of_the_class():
    model = nn.Sequential(Merges(8, 8), nn.ReLU())
    before = model[0].weight.clone()
    probe(model, torch.randn(2, 9, 8), measures="mu_bar")
    assert torch.equal(model[0].weight, before)


def test_the_gradient_of_a_tied_weight_appears_once():
    model = net()
    model.blocks[2].inner.weight = model.blocks[0].inner.weight
    names = [row.parameter for row in probe(model, measures="grad_stable_rank").rows]
    assert "blocks.0.inner.weight" in names
    assert "blocks.2.inner.weight" not in names
    assert len(names) == len(set(names))


# Gradients switched off inside, checkpoints


class Quiet(Stack):
    def forward(self, ids):
        with torch.inference_mode():
            return super().forward(ids)


class Silent(Stack):
    @torch.no_grad()
    def forward(self, ids):
        return super().forward(ids)


@pytest.mark.parametrize("kind", [Quiet, Silent])
def test_a_forward_without_gradients_is_measured_and_says_why_it_has_none(kind, plain):
    report = probe(net(kind))
    assert of(report, "block", "value") == [row for row in plain if row.site in {"block", "value"}]
    reasons = {(row.status, row.reason) for row in of(report, "gradient", "weight_gradient")}
    assert reasons == {("undefined", "its forward runs under no_grad or inference_mode, or detaches what it returns")}


class Checkpointed(nn.Module):
    def __init__(self, block, reentrant):
        super().__init__()
        self.block, self.reentrant = block, reentrant

    def forward(self, x):
        return checkpoint(self.block, x, use_reentrant=self.reentrant)


def around(reentrant):
    class Around(Stack):
        def forward(self, ids):
            x = self.embed(ids)
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=reentrant)
            return self.head(x)

    return Around


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_change_no_number(reentrant, plain):
    assert probe(net(around(reentrant))).rows == plain
    inside = probe(net(wrap=lambda block: Checkpointed(block, reentrant)))
    assert numbers(inside.rows) == numbers(plain)
    from torch.utils.checkpoint import CheckpointFunction

    assert issubclass(CheckpointFunction, torch.autograd.Function)


@pytest.mark.models
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_of_transformers_changes_no_number(reentrant):
    transformers = pytest.importorskip("transformers", reason="needs the package transformers")
    config = transformers.LlamaConfig(
        vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    model = transformers.LlamaForCausalLM(config)
    data = {"input_ids": ids(2, 12, 99)}
    expected = probe(model, data).rows
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    assert probe(model.train(), data).rows == expected


def test_a_write_into_a_view_does_not_lose_the_gradient_before_it():
    torch.manual_seed(0)
    apart = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    written = nn.Sequential(apart[0], nn.ReLU(inplace=True), apart[2])
    x = torch.randn(2, 9, 8)
    assert probe(written, x).rows == probe(apart, x).rows


# The user's own modes, threads, exceptions


class Seen(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Dispatched(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, Seen, Dispatched], ids=lambda mode: mode.__name__
)
def test_inside_a_mode_of_the_users_the_numbers_are_the_same(mode, plain):
    model = net()
    with mode():
        rows = probe(model).rows
    if mode is not Dispatched:
        assert rows == plain
    # Inside a dispatch mode torch solves for eigenvectors too, by which the last digits of eigenvalues change.
    assert [(row.key, row.status, row.reason) for row in rows] == [(row.key, row.status, row.reason) for row in plain]
    assert [row.samples for row in rows] == [pytest.approx(row.samples, rel=1e-12) for row in plain]


def test_threads_take_turns_also_on_one_model(plain):
    models, reports = [net(), net()] * 2, {}
    threads = [
        threading.Thread(target=lambda index=index: reports.update({index: probe(models[index])})) for index in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reports[index].rows == plain for index in range(4)] == [True] * 4
    assert torch.backends.mha.get_fastpath_enabled()
    assert all(hooks(model) == 0 and model.training for model in models)


def test_after_an_exception_of_the_model_all_is_as_it_was(plain):
    model, state = net(), torch.get_rng_state()

    def fails(module, args, output):
        raise ValueError("half-way")

    with model.blocks[1].register_forward_hook(fails), pytest.raises(CaptureError, match=r"half-way.*RS401"):
        probe(model)
    assert hooks(model) == 0
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert probe(model).rows == plain == probe(model).rows


def test_an_error_of_ours_inside_a_hook_is_that_of_its_layer(monkeypatch, plain):
    whole = Reduction.activation

    def fails(self, layer, *args):
        if layer.index == 2:
            raise ZeroDivisionError("ours")
        whole(self, layer, *args)

    monkeypatch.setattr(Reduction, "activation", fails)
    model = net()
    rows = of(probe(model), "block")
    assert {(row.status, row.reason) for row in rows if row.layer_index == 2} == {("error", "ZeroDivisionError: ours")}
    assert [r for r in rows if r.layer_index != 2] == [r for r in plain if r.site == "block" and r.layer_index != 2]
    assert hooks(model) == 0


def test_hooks_of_the_user_are_called_and_their_output_is_what_is_measured():
    calls = []

    def doubles(module, args, output):
        calls.append(type(module).__name__)
        return 2 * output

    class Doubled(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def forward(self, x):
            return 2 * self.block(x)

    by_hook, by_hand = net(), net()
    by_hook.blocks[1].register_forward_hook(doubles)
    by_hand.blocks[1] = Doubled(by_hand.blocks[1])
    report = probe(by_hook, measures="forward")
    assert numbers(report.rows) == numbers(probe(by_hand, measures="forward").rows)
    assert len(by_hook.blocks[1]._forward_hooks) == 1
    assert set(calls) == {"Attention"}


# Experts, tokens


def test_idle_experts_are_skipped_with_the_reason():
    model = Stack([Experts(16), Experts(16)])
    report = probe(model, layers=["*experts.?"], measures="mu_bar")
    idle = {"blocks.0.experts.2", "blocks.1.experts.2"}
    assert report.coverage.skipped == dict.fromkeys(idle, "it never ran")
    assert not idle & {row.layer for row in report.rows if row.status == "ok"}


class Routed(nn.Module):
    """Each token goes to one of two experts, so that an expert sees the tokens of several sequences."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))

    def forward(self, x):
        flat = x.flatten(0, 1)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            rows = torch.arange(number, len(flat) - 4 * number, 3)
            out[rows] = expert(flat[rows])
        return x + out.view_as(x)


def test_tokens_of_several_sequences_in_one_expert_are_not_cut_up_by_chance():
    model = Stack([Routed(), Routed()])
    report = probe(model, ids(2, 19), layers=["*experts.?"], measures="mu_bar")
    assert {row.status for row in report.rows} == {"undefined"}
    assert "which of the 2 sequences of 19 tokens cannot be told" in report.rows[-1].reason
    alone = probe(model, ids(1, 19), layers=["*experts.?"], measures="mu_bar")
    assert {row.status for row in alone.rows} == {"ok"}
    assert {row.status for row in probe(model, ids(2, 19), measures="mu_bar").rows} == {"ok"}


class Pooling(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = PreNorm(16)

    def forward(self, x):
        return self.block(x[:, ::2])


class Shrinks(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.blocks = nn.Embedding(11, 16), nn.ModuleList(Pooling() for _ in range(2))

    def forward(self, input_ids, attention_mask=None):
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)
        return x


def test_tokens_that_become_fewer_are_measured_unless_a_mask_no_longer_fits():
    model, data = Shrinks(), ids(2, 32)
    report = probe(model, {"input_ids": data})
    assert [layer.shape[0] for layer in report.layers] == [32, 16, 8]
    assert {row.status for row in of(report, "block", "gradient")} == {"ok"}
    mask = (torch.arange(32) < torch.tensor([[20], [32]])).long()
    report = probe(model, {"input_ids": data, "attention_mask": mask}, measures="quick,grad_norm_ratio")
    status = {(row.layer_index, row.measure): row.status for row in of(report, "block", "gradient")}
    assert [status[index, "mu_bar"] for index in range(3)] == ["ok", "undefined", "undefined"]
    assert [status[index, "grad_norm"] for index in range(3)] == ["ok", "undefined", "undefined"]
    assert status[0, "grad_norm_ratio"] == "undefined"  # its last layer cannot be read
    assert any("8 tokens do not fit the padding mask" in (row.reason or "") for row in report.rows)


class Ragged(nn.Module):
    """Linear maps on a nested tensor, given or made inside."""

    def __init__(self, layout=None):
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.layout = nn.Sequential(*[nn.Linear(16, 16) for _ in range(3)]), layout

    def forward(self, x, lengths=None):
        if lengths is not None and self.layout is not None:
            parts = [row[:length] for row, length in zip(x, lengths.tolist(), strict=True)]
            x = torch.nested.as_nested_tensor(parts, layout=self.layout)
        return self.layers(x)


@pytest.mark.parametrize("layout", [torch.jagged, torch.strided], ids=str)
@pytest.mark.parametrize("inside", [False, True])
def test_nested_tensors_are_measured_each_sequence_over_its_own_tokens(layout, inside):
    torch.manual_seed(5)
    parts = [torch.randn(7, 16), torch.randn(11, 16)]
    if inside:
        data = (nn.utils.rnn.pad_sequence(parts, batch_first=True), torch.tensor([7, 11]))
        report = probe(Ragged(layout), data)
    else:
        report = probe(Ragged(), torch.nested.nested_tensor(parts, layout=layout))
    alone = [of(probe(Ragged(), part[None]), "block") for part in parts]
    for row, *each in zip(of(report, "block"), *alone, strict=True):
        assert row.samples == pytest.approx([one.value for one in each], rel=1e-5)
    assert report.inputs["tokens"] == 18
    assert {row.status for row in of(report, "gradient")} == {"ok"}


@dataclasses.dataclass
class Out:
    hidden: torch.Tensor
    note: object = None


OUTPUTS = {
    "dataclass": (Out, lambda out: out.hidden),
    "none first": (lambda y: (None, y), lambda out: out[1]),
    "nested": (lambda y: {"a": [{"h": y}]}, lambda out: out["a"][0]["h"]),
    "whole numbers first": (lambda y: (y.argmax(-1), y), lambda out: out[1]),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_of_any_make_are_found(kind, plain):
    pack, unpack = OUTPUTS[kind]

    class Packs(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def forward(self, x):
            return pack(self.block(x))

    class Unpacks(Stack):
        def forward(self, ids):
            x = self.embed(ids)
            for block in self.blocks:
                x = unpack(block(x))
            return self.head(x)

    assert numbers(probe(net(Unpacks, Packs)).rows) == numbers(plain)
