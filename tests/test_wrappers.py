"""Modules inside torch's wrappers give the numbers of the plain module, or are refused with a code."""

import pytest
import torch
import torch.distributed as dist
from nets import Attention, PreNorm, Stack, ids
from torch import nn
from torch.distributed.fsdp import fully_shard

import rankscope
from rankscope.errors import CaptureError, LoadError

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own: deprecated quantisation, scripting, nested tensors
MEASURES = "quick,grad_stable_rank"


def net():
    torch.manual_seed(0)
    return Stack([PreNorm(16), Attention(16), PreNorm(16)])


def probe(model, inputs=None, measures=MEASURES, **options):
    return rankscope.probe(model, ids() if inputs is None else inputs, measures=measures, **options)


@pytest.fixture(scope="module")
def plain():
    return probe(net()).rows


@pytest.fixture
def mesh():
    """One process of gloo."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.device_mesh.init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def child(model):
    model.blocks[1] = torch.compile(model.blocks[1], backend="eager")
    return model


def every_child(model):
    for index, block in enumerate(model.blocks):
        if index != 1:
            block.inner = torch.compile(block.inner, backend="eager")
        model.blocks[index] = torch.compile(block, backend="eager")
    return model


def in_place(model, backend="eager"):
    model.compile(backend=backend)
    return model


def forward_alone(model):
    model.forward = torch.compile(model.forward, backend="eager")
    return model


COMPILED = {
    "compile": lambda model: torch.compile(model, backend="eager"),
    "aot_eager": lambda model: torch.compile(model, backend="aot_eager"),
    "in place": in_place,
    "in place, aot_eager": lambda model: in_place(model, "aot_eager"),
    "a child": child,
    "nested": every_child,
    "its forward": forward_alone,
}


@pytest.mark.parametrize("called", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", COMPILED)
def test_compiled_models_give_the_rows_of_the_plain_one(kind, called, plain):
    model = COMPILED[kind](net())
    if called:
        model(ids())
    assert probe(model).rows == plain


def test_globs_match_the_names_the_user_knows():
    model = torch.compile(nn.DataParallel(child(net())), backend="eager")
    report = probe(model, layers=["blocks.?"], measures="mu_bar")
    assert [layer.name for layer in report.layers] == ["blocks.0.input", "blocks.0", "blocks.1", "blocks.2"]
    assert [layer.type for layer in report.layers[1:]] == ["PreNorm", "Attention", "PreNorm"]
    assert report.model["class"] == "Stack"
    with pytest.raises(CaptureError, match="RS422"):
        probe(model, layers=["_orig_mod.*"])


def test_data_parallel_on_the_cpu_is_the_plain_model(plain):
    assert probe(nn.DataParallel(net())).rows == plain


def losses(model, measured):
    """Three steps of training, with a probe after each."""
    optimizer, found = torch.optim.SGD(model.parameters(), 0.1), []
    for _ in range(3):
        loss = nn.functional.cross_entropy(model(ids()).flatten(0, 1), ids().flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss))
        if measured:
            probe(model)
    return found


def sharded(model, mesh):
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def test_ddp_is_the_plain_model_and_trains_on_as_before(mesh, plain):
    assert probe(nn.parallel.DistributedDataParallel(net())).rows == plain
    assert losses(nn.parallel.DistributedDataParallel(net()), True) == losses(net(), False)


def test_fsdp_is_the_plain_model_also_in_the_gradients_of_its_sharded_weights(mesh, plain):
    model = sharded(net(), mesh)
    report = probe(model)
    rows = report.rows
    assert rows == plain
    assert (report.model["class"], report.layers[1].type) == ("Stack", "PreNorm")
    assert any(row.site == "weight_gradient" for row in rows)
    assert losses(sharded(net(), mesh), True) == pytest.approx(losses(net(), False))
    assert all(parameter.grad is None for parameter in model.parameters())


def columns(model, mesh, local=True):
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    for index in (0, 2):
        plan = {"inner": ColwiseParallel(use_local_output=local), "outer": RowwiseParallel()}
        parallelize_module(model.blocks[index], mesh, plan)
    return model


@pytest.mark.parametrize("local", [True, False], ids=["plain outputs", "DTensor outputs"])
def test_tensor_parallel_blocks_are_the_plain_ones(local, mesh, plain):
    assert probe(columns(net(), mesh, local)).rows == plain
    inner = probe(columns(net(), mesh, local), layers=["*inner"], measures="mu_bar")
    assert inner.rows == probe(net(), layers=["*inner"], measures="mu_bar").rows


def test_half_of_a_tensor_parallel_layer_is_not_measured():
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        model = columns(net(), dist.device_mesh.init_device_mesh("cpu", (2,)))
        report = probe(model, layers=["blocks.0.*"], measures="mu_bar")
    finally:
        dist.destroy_process_group()
    reasons = {row.layer: (row.status, row.reason) for row in report.rows}
    assert reasons["blocks.0.inner"][0] == "undefined"
    assert "this one has 8 of its 16 features" in reasons["blocks.0.inner"][1]
    assert reasons["blocks.0.norm"][0] == reasons["blocks.0.outer"][0] == "ok"


def seen_by_hand(model, name):
    kept = []
    with model.get_submodule(name).register_forward_hook(lambda module, args, output: kept.append(output)):
        model.eval()(ids())
    return kept[0]


def test_dynamically_quantised_layers_are_measured_and_have_no_gradients():
    model = torch.ao.quantization.quantize_dynamic(net().eval(), {nn.Linear})
    report = probe(model)
    for name in ("blocks.0", "blocks.2"):
        y = seen_by_hand(model, name).double()

        sigma = torch.linalg.svdvals(y)
        expected = ((sigma**2).sum(1) / sigma[:, 0] ** 2).mean()
        row = next(row for row in report.rows if row.layer == name and row.measure == "stable_rank")
        assert row.value == pytest.approx(float(expected), rel=1e-6)
    gradients = {row.reason for row in report.rows if row.site == "gradient"}
    assert gradients == {"quantized::linear_dynamic has no derivative"}


class WholeNumbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([[2]]), requires_grad=False)
        self.net = net()

    def forward(self, ids):
        return self.net(ids) * self.scale


def test_parameters_that_are_whole_numbers_and_modules_without_any():
    assert {row.status for row in probe(WholeNumbers()).rows if row.site == "block"} == {"ok"}
    report = probe(nn.Sequential(nn.Tanh(), nn.ReLU()), torch.randn(2, 9, 4))
    assert {row.status for row in report.rows if row.measure == "mu_bar"} == {"ok"}


class Offloaded:
    """Brings the weights of a module for its call and leaves none behind, as accelerate does."""

    def __init__(self, module):
        self.module, self.weights, self.forward = module, dict(module._parameters), module.forward
        module._hf_hook, module.forward = self, self
        self.put("meta")

    def put(self, device):
        for name, weight in self.weights.items():
            self.module._parameters[name] = nn.Parameter(weight.to(device)) if device == "meta" else weight

    def __call__(self, *args):
        self.put("cpu")
        output = self.forward(*args)
        self.put("meta")
        return output


def test_offloaded_weights_are_measured_and_their_gradients_say_so(plain):
    model = net().eval()
    for module in list(model.modules()):
        if module._parameters:
            Offloaded(module)
    rows = probe(model).rows
    assert [row for row in rows if row.site != "weight_gradient"] == [r for r in plain if r.site != "weight_gradient"]
    reasons = {row.reason for row in rows if row.site == "weight_gradient"}
    assert reasons == {"it is offloaded between calls"}


def test_accelerate_offload_is_the_plain_model(plain):
    accelerate = pytest.importorskip("accelerate", reason="needs the package accelerate")
    model = accelerate.cpu_offload(net(), execution_device="cpu")
    forward = [row for row in probe(model).rows if row.site in {"block", "value"}]
    assert forward == [row for row in plain if row.site in {"block", "value"}]


def test_lazy_and_hollow_modules_are_refused_before_they_run():
    lazy = nn.Sequential(nn.LazyLinear(8), nn.ReLU())
    with pytest.raises(LoadError, match=r"(?s)RS406.*0\.weight"):
        probe(lazy, torch.randn(2, 9, 4))
    assert nn.parameter.is_lazy(lazy[0].weight)
    hollow = net()
    hollow.blocks[1].to("meta")
    with pytest.raises(LoadError, match=r"(?s)RS405.*blocks\.1\.norm\.weight"):
        probe(hollow)


class Holds(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part, self.head = part, nn.Linear(11, 4)

    def forward(self, ids):
        return self.head(self.part(ids))


def test_what_calls_none_of_its_layers_is_never_reported_as_measured():
    program = torch.export.export(net().eval(), (ids(),))
    for model in (program.module(), Holds(program.module())):
        with pytest.raises(LoadError, match="RS407"):
            probe(model)
        with pytest.raises(LoadError, match="RS407"):
            probe(model, layers=["*blocks*"])
    traced = net().eval()
    traced.blocks[1] = torch.jit.trace(traced.blocks[1], torch.randn(2, 9, 16))
    with pytest.raises(CaptureError, match=r"blocks\.1 is TorchScript.*RS404|RS404"):
        probe(traced)
    with pytest.raises(LoadError, match="RS302"):
        probe(torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU())), torch.randn(2, 9, 4))


def test_graphs_that_call_their_layers_are_measured():
    program = torch.export.export(net().eval(), (ids(),))
    assert values(probe(torch.export.unflatten(program), loss="cotangent")) == pytest.approx(
        values(probe(net(), loss="cotangent"))
    )
    by_leaf = probe(torch.fx.symbolic_trace(net()), measures="mu_bar", layers=["blocks.?.norm"])
    assert by_leaf.rows == probe(net(), measures="mu_bar", layers=["blocks.?.norm"]).rows


def values(report):
    return {row.key: row.value for row in report.rows if row.value is not None}
