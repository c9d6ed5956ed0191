"""Modules written in unusual ways, and inputs of unusual shapes, give the numbers of the plain ones."""

import pytest
import torch
from nets import Attention, PreNorm, Stack, ids
from torch import nn
from torch.nn.utils import parametrizations

import rankscope
from rankscope.cli import main

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, of transforms and parametrisations


def net(kind=Stack):
    torch.manual_seed(0)
    return kind([PreNorm(16), Attention(16), PreNorm(16)])


def probe(model, inputs=None, measures="quick", **options):
    return rankscope.probe(model, ids() if inputs is None else inputs, measures=measures, **options)


@pytest.fixture(scope="module")
def plain():
    return probe(net()).rows


def numbers(rows):
    return [(row.layer_index, row.site, row.measure, row.status, row.value, row.samples) for row in rows]


def names(report):
    return [layer.name for layer in report.layers]


# Ways to call


class KeywordOnly(Stack):
    def forward(self, *, ids):
        return super().forward(ids)


class Any_(Stack):
    def forward(self, *arguments):
        return super().forward(arguments[0])


class Listed(Stack):
    def forward(self, ids):
        return super().forward(ids[0])


class Slots(Stack):
    __slots__ = ("extra",)

    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)


class Functional(Stack):
    inside = False

    def forward(self, ids):
        if self.inside:
            return super().forward(ids)
        self.inside = True
        try:
            return torch.func.functional_call(self, dict(self.named_parameters()), (ids,))
        finally:
            self.inside = False


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (KeywordOnly, {"ids": ids()}),
        (Any_, ids()),
        (Any_, (ids(), ids())),
        (Listed, ([ids(), ids()],)),
        (Slots, ids()),
        (Functional, ids()),
    ],
    ids=["keyword only", "*args", "*args, two", "list", "slots", "functional_call"],
)
def test_any_signature(kind, inputs, plain):
    assert probe(net(kind), inputs).rows == plain


class EachAlone(Stack):
    def forward(self, sequences):
        return [super(EachAlone, self).forward(sequence[None]) for sequence in sequences]


def test_a_list_of_single_sequences_runs_one_after_the_other():
    report = probe(net(EachAlone), (list(ids()),), measures="mu")
    assert names(report)[1:3] == ["blocks.0#1", "blocks.1#1"]
    alone = probe(net(), ids()[:1], measures="mu").rows
    assert [row.value for row in report.rows[:4]] == [row.value for row in alone]


class Detects(nn.Module):
    """Stacks images of a list, as detectors do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, images):
        x = torch.stack(images) if isinstance(images, list) else images
        for block in self.blocks:
            x = x + block(x)
        return x


def test_a_list_of_images_is_a_batch():
    images = torch.randn(2, 3, 5, 6)
    listed = probe(Detects(), (list(images),), measures="forward")
    assert listed.rows == probe(Detects(), images, measures="forward").rows
    assert listed.layers[0].shape == (30, 3)


# Ways to write


class Delegates(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.core = model

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("core"), name)

    def forward(self, *args, **kwargs):
        return self.core(*args, **kwargs)


def test_a_wrapper_of_ones_own_and_a_forward_replaced_on_the_instance(plain):
    report = probe(Delegates(net()))
    assert numbers(report.rows) == numbers(plain)
    assert names(report) == [f"core.{name}" for name in ("blocks.0.input", "blocks.0", "blocks.1", "blocks.2")]
    model = net()
    forward = model.blocks[1].forward
    model.blocks[1].forward = lambda x: forward(x)
    assert probe(model).rows == plain


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class Doubles(nn.Module):
    def __init__(self, block, custom):
        super().__init__()
        self.block, self.custom = block, custom

    def forward(self, x):
        return Twice.apply(self.block(x)) if self.custom else 2 * self.block(x)


def test_a_custom_autograd_function_is_its_written_out_form():
    custom, written = net(), net()
    custom.blocks = nn.ModuleList(Doubles(block, True) for block in custom.blocks)
    written.blocks = nn.ModuleList(Doubles(block, False) for block in written.blocks)
    assert probe(custom).rows == probe(written).rows


def test_parametrised_weights_are_the_weights_they_make_and_no_layers():
    made, given = net(), net()
    for index in (0, 2):
        parametrizations.spectral_norm(made.blocks[index].inner)
        parametrizations.orthogonal(made.blocks[index].outer)
    parametrizations.weight_norm(made.blocks[1].v)
    state = {name: tensor.clone() for name, tensor in made.eval().state_dict().items()}
    for name in ("blocks.0.inner", "blocks.0.outer", "blocks.2.inner", "blocks.2.outer", "blocks.1.v"):
        given.get_submodule(name).weight.data = made.get_submodule(name).weight.detach().clone()
    report = probe(made.train())  # in training, spectral norm moves its vectors
    sites = {"block", "value", "gradient"}
    assert numbers(r for r in report.rows if r.site in sites) == numbers(
        r for r in probe(given).rows if r.site in sites
    )
    assert all(torch.equal(tensor, state[name]) for name, tensor in made.state_dict().items())
    leaves = nn.Sequential(parametrizations.spectral_norm(nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, 8))
    assert names(probe(leaves, torch.randn(2, 9, 8), measures="mu")) == ["0.input", "0", "1", "2"]


class Mapped(Stack):
    def forward(self, ids):
        return torch.vmap(lambda one: super(Mapped, self).forward(one[None])[0])(ids)


def test_layers_inside_vmap_say_why_they_are_undefined():
    rows = [row for row in probe(net(Mapped)).rows if row.site in {"block", "gradient"}]
    assert {row.status for row in rows} == {"undefined"}
    assert {row.reason for row in rows} == {"it runs inside torch.vmap or another transform of torch.func"}


class Bypassed(nn.Module):
    """Calls its part without running hooks on itself."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def __call__(self, x):
        return self.block(x)


def test_a_block_whose_call_runs_no_hook_is_never_reported():
    model = net()
    model.blocks = nn.ModuleList(Bypassed(block) for block in model.blocks)
    report = probe(model, measures="mu")
    assert not {f"blocks.{index}" for index in range(3)} & set(names(report))


# Two stacks, axes


class Towers(nn.Module):
    """Two inputs, two stacks."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = net(), net()
        self.image = nn.Sequential(nn.Linear(12, 16), *[PreNorm(16) for _ in range(3)])

    def forward(self, ids, patches):
        return self.left(ids).mean(1) @ self.image(patches).mean(1)[:, :11].T


def test_two_towers_are_reported_apart():
    torch.manual_seed(3)
    patches = torch.randn(2, 6, 12)
    report = probe(Towers(), {"ids": ids(), "patches": patches})
    shapes = {layer.name: layer.shape for layer in report.layers}
    assert shapes["left.blocks.2"] == (9, 16)
    assert shapes["image.3"] == (6, 16)
    alone = probe(net(), measures="mu").rows
    left = [row for row in report.rows if row.measure == "mu" and row.stack.startswith("left")]
    assert [row.samples for row in left] == [row.samples for row in alone]


def test_encoder_and_decoder_of_different_lengths_have_masks_of_their_own():
    torch.manual_seed(0)
    model = nn.Transformer(16, 2, 2, 2, 32, batch_first=True)
    source, target = torch.randn(1, 12, 16), torch.randn(1, 7, 16)
    padded = {
        "src": nn.functional.pad(source, (0, 0, 0, 3)),
        "tgt": nn.functional.pad(target, (0, 0, 0, 5)),
        "src_key_padding_mask": torch.arange(15)[None] >= 12,
        "memory_key_padding_mask": torch.arange(15)[None] >= 12,
        "tgt_key_padding_mask": torch.arange(12)[None] >= 7,
    }
    report = probe(model, padded, measures="forward")
    alone = probe(model, {"src": source, "tgt": target}, measures="forward")
    found = {row.key: row.value for row in report.rows if row.site == "block"}
    for row in alone.rows:
        if row.site == "block":
            assert found[row.key] == pytest.approx(row.value, rel=1e-4, abs=1e-5), row.key


class Mixes(nn.Module):
    """The same map on features that come last, or second."""

    def __init__(self, last):
        super().__init__()
        self.inner, self.last = nn.Linear(8, 8) if last else nn.Conv2d(8, 8, 1), last

    def forward(self, x):
        return x + torch.relu(self.inner(x))


def test_channels_first_and_last_and_one_dimension_less():
    last, first = (nn.Sequential(*[Mixes(side) for _ in range(3)]) for side in (True, False))
    for a, b in zip(last, first, strict=True):
        b.inner.weight.data, b.inner.bias.data = a.inner.weight.data[..., None, None].clone(), a.inner.bias.data
    x = torch.randn(2, 5, 6, 8)
    one = probe(last, x, measures="mu_bar,stable_rank").rows
    other = probe(first, x.permute(0, 3, 1, 2), measures="mu_bar,stable_rank").rows
    assert [row.value for row in one] == pytest.approx([row.value for row in other], rel=1e-6)
    series = nn.Sequential(*[nn.Conv1d(8, 8, 3, padding=1) for _ in range(2)])
    assert probe(series, torch.randn(2, 8, 20), measures="mu", layout="bct").layers[0].shape == (20, 8)


FACTORY = """
import torch
from nets import Attention, PreNorm, Stack
def net():
    torch.manual_seed(0)
    return Stack([PreNorm(16), Attention(16), PreNorm(16)])
def compiled():
    model = torch.compile(net(), backend="eager")
    return model
def hollow():
    return net().to("meta")
def flat():
    return torch.export.export(net().eval(), (torch.zeros(2, 9, dtype=torch.long),)).module()
def lazy():
    return torch.nn.Sequential(torch.nn.LazyLinear(4))
"""


def test_the_command_line_takes_the_same_modules(tmp_path, capsys):
    file = tmp_path / "model_of_mine.py"
    file.write_text(FACTORY)
    found = {}
    for name in ("net", "compiled", "hollow", "flat", "lazy"):
        report = tmp_path / f"{name}.json"
        options = ["--random", "ids=2x9:int64:0..10", "--measures", "mu_bar", "-o", str(report)]
        code = main(["probe", f"{file}:{name}", *options])
        said = capsys.readouterr()
        found[name] = (code, [line for line in (said.out + said.err).split() if line.startswith("[RS")])
        if not code:
            found[name] = rankscope.Report.from_json(report.read_text()).rows
    assert found["compiled"] == found["net"]
    assert found["hollow"][0] == found["flat"][0] == found["lazy"][0] == 3
    assert "[RS407]" in found["flat"][1]
    assert "[RS406]" in found["lazy"][1]


def test_an_option_in_an_error_is_named_as_python_names_it():
    with pytest.raises(rankscope.errors.CaptureError) as caught:
        probe(net(), layers=["blcks.*"])
    assert caught.value.__notes__ == ["In Python: layers=…"]
    with pytest.raises(rankscope.errors.UsageError) as caught:
        probe(net(), measures="grad_norm", loss="ce")
    assert caught.value.__notes__ == ["In Python: loss=…"]
