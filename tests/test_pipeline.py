"""The main job on nets with known answers."""

import math
from pathlib import Path

import pytest
import torch
from nets import Attention, Masked, PreNorm, Shared, Stack, cnn, ids
from torch import nn

import rankscope
from rankscope.errors import CaptureError, InputError, UsageError
from rankscope.pipeline import read_options
from rankscope.records import Report


def attention_only(depth=6, width=16, skip=True, seed=0):
    torch.manual_seed(seed)
    return Stack([Attention(width, skip=skip) for _ in range(depth)], width)


def values(report, measure, scope="sequence"):
    return [row.value for row in report.rows if row.measure == measure and row.scope == scope]


def verdict(report):
    return report.depth[0].verdict


def test_a_report_has_a_row_for_every_measure_and_layer_and_survives_json():
    report = rankscope.probe(attention_only(), ids())
    keys = [row.key for row in report.rows]
    assert len(keys) == len(set(keys))
    assert {row.status for row in report.rows} == {"ok"}
    assert [layer.index for layer in report.layers] == list(range(7))
    assert report.layers[0].shape == (9, 16)
    assert report.inputs["sequences"] == 2
    assert report.inputs["tokens"] == 18
    for measure in ("mu", "mu_bar", "effective_rank_unit", "grad_norm"):
        assert len(values(report, measure)) in {7, 0}
    assert Report.from_json(report.to_json()) == report


def test_quick_measures_are_those_of_the_contract():
    report = rankscope.probe(attention_only(), ids())
    quick = (
        "mu mu_bar mu_bar_unit rank_one_residual_unit token_norm_ratio effective_rank effective_rank_unit stable_rank"
    )
    quick += " participation_ratio participation_ratio_centered value_cosine grad_norm grad_condition grad_rank"
    assert {row.measure for row in report.rows} == set(quick.split())
    assert len(report.to_frame()) == len(report.rows)


def test_attention_without_skip_is_collapsed_and_with_it_is_not():
    bare = rankscope.probe(attention_only(skip=False), ids(), measures="forward")
    assert verdict(bare) == "collapsed"
    assert "RS424" in {note.code for note in bare.notes}
    assert verdict(rankscope.probe(attention_only(), ids(), measures="forward")) != "collapsed"


def test_value_cosine_begins_at_one():
    first, *later = values(rankscope.probe(attention_only(), ids(), measures="value_cosine"), "value_cosine")
    assert first == pytest.approx(1.0)
    assert all(abs(value) < 1 for value in later)


def test_padding_moves_no_number():
    alone = ids(1, 9)
    padded = torch.cat([alone, torch.zeros(1, 20, dtype=torch.long)], 1)
    mask = (torch.arange(29) < 9).long().unsqueeze(0)
    a = rankscope.probe(Masked(), {"input_ids": alone, "attention_mask": mask[:, :9]})
    b = rankscope.probe(Masked(), {"input_ids": padded, "attention_mask": mask})
    assert len(a.rows) == len(b.rows)
    for x, y in zip(a.rows, b.rows, strict=True):
        assert x.key == y.key
        assert y.value == pytest.approx(x.value, rel=1e-4, abs=1e-5), x.key
    assert b.inputs["tokens"] == 9


class Loud(nn.Module):
    def __init__(self, model, factor):
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, ids):
        x = self.model.embed(ids)
        x = torch.cat([x[:, :3], self.factor * x[:, 3:4], x[:, 4:]], 1)
        for block in self.model.blocks:
            x = block(x)
        return x


def test_one_huge_token_is_not_collapse_and_is_named():
    torch.manual_seed(0)
    model = Loud(Stack([PreNorm(16) for _ in range(4)]), 100.0)
    report = rankscope.probe(model, ids(2, 12), measures="forward")
    assert values(report, "stable_rank")[0] < 1.1
    assert verdict(report) == "healthy"
    note = next(note.text for note in report.notes if note.code == "RS530")
    assert "model.blocks.0.input" in note
    assert "token 3 of sequence" in note


@pytest.mark.parametrize("factor", [1e-3, 2.0, 1e3])
def test_scaling_the_activations_changes_no_verdict(factor):
    class Scaled(nn.Module):
        def __init__(self, skip):
            super().__init__()
            self.model = attention_only(skip=skip)

        def forward(self, ids):
            x = self.model.embed(ids)
            for block in self.model.blocks:
                x = block(x)
            return x

    for skip in (True, False):
        plain = rankscope.probe(Scaled(skip), ids(), measures="forward")
        model = Scaled(skip)
        for part in model.model.blocks:
            part.v.weight.data *= factor
            part.v.bias.data *= factor
        model.model.embed.weight.data *= factor
        scaled = rankscope.probe(model, ids(), measures="forward")
        assert verdict(scaled) == verdict(plain)


class Breaks(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        y = x.clone()
        y[0, 2, 1] = self.value
        return x + 0 * x if self.value is None else y


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_value_is_undefined_with_the_reason(value):
    model = attention_only(3)
    model.blocks.insert(1, Breaks(value))
    model.blocks[1].__class__.__name__ = "Breaks"
    report = rankscope.probe(model, ids(), layers=["blocks.?"], measures="forward")
    bad = [row for row in report.rows if row.layer == "blocks.1" and row.site == "block"]
    assert {row.status for row in bad} == {"undefined"}
    assert all("non-finite values in 1 of 2 sequences" in row.reason for row in bad)
    assert all(row.value is None for row in bad)
    assert verdict(report) == "undefined"


def test_one_number_of_several_sequences_counts_them():
    report = rankscope.probe(Masked(), ids(3, 9), measures=["pooled:effective_rank", "grad_norm", "grad_rank"])
    found = {(row.measure, row.scope, row.sequences) for row in report.rows}
    assert found == {("effective_rank", "pooled", 3), ("grad_norm", "batch", 3), ("grad_rank", "batch", 3)}


def test_short_sequences_of_a_second_stack_are_counted_too():
    model = nn.Transformer(16, 4, 2, 2, 32, batch_first=True)
    padded = torch.arange(6) >= torch.tensor([6, 2, 6]).unsqueeze(1)
    inputs = ((torch.randn(3, 9, 16), torch.randn(3, 6, 16)), {"tgt_key_padding_mask": padded})
    report = rankscope.probe(model, inputs, measures="mu_bar")
    (note,) = (note for note in report.notes if note.code == "RS533")
    assert note.text == "decoder.layers.*: 1 of 3 sequences have fewer than 4 tokens and are left out"
    assert {(row.stack, row.sequences) for row in report.rows} == {("encoder.layers.*", 3), ("decoder.layers.*", 2)}
    assert report.inputs["tokens"] == 27


def test_short_sequences_are_left_out_and_counted():
    mask = torch.tensor([[1] * 9, [1, 1, 0, 0, 0, 0, 0, 0, 0]])
    report = rankscope.probe(Masked(), {"input_ids": ids(), "attention_mask": mask}, measures="forward")
    rows = [row for row in report.rows if row.measure == "mu_bar"]
    assert {(row.status, row.sequences, row.tokens) for row in rows} == {("ok", 1, 9)}
    assert any("2 tokens" in note.text or "fewer than 4" in note.text for note in report.notes)
    short = rankscope.probe(Masked(), ids(2, 3), measures="forward")
    assert {(row.status, row.reason) for row in short.rows if row.site == "block"} == {
        ("undefined", "fewer than 4 tokens")
    }


def test_models_without_attention_say_why_values_are_undefined():
    report = rankscope.probe(Stack([PreNorm(16) for _ in range(2)]), ids())
    rows = [row for row in report.rows if row.measure == "value_cosine"]
    assert {(row.status, row.reason) for row in rows} == {("undefined", "no attention call was seen in this block")}


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (cnn(), torch.randn(2, 3, 12, 12)),
        (nn.LSTM(4, 8, 2, batch_first=True), torch.randn(2, 9, 4)),
        (nn.LSTM(4, 8, 2), torch.randn(9, 2, 4)),
        (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(30, 4)),
        (Shared(Attention(16), 4), ids()),
    ],
    ids=["cnn", "lstm", "lstm_tokens_first", "mlp", "one_block_4_calls"],
)
def test_every_kind_of_model_gives_a_report(model, inputs):
    report = rankscope.probe(model, inputs)
    assert any(row.status == "ok" and row.measure == "mu_bar" for row in report.rows)
    assert all(row.reason for row in report.rows if row.status != "ok")
    tokens = {layer.shape[0] for layer in report.layers if layer.shape}
    assert max(tokens) in {9, 30, 100}


def test_tokens_first_gives_the_numbers_of_batch_first():
    a = nn.LSTM(4, 8, 2, batch_first=True)
    b = nn.LSTM(4, 8, 2)
    b.load_state_dict(a.state_dict())
    x = torch.randn(3, 9, 4)
    first = rankscope.probe(a, x, measures="forward")
    second = rankscope.probe(b, x.transpose(0, 1), measures="forward")
    assert values(first, "mu") == pytest.approx(values(second, "mu"))


def test_batches_make_the_numbers_of_one_batch():
    model = attention_only()
    whole = rankscope.probe(model, ids(6, 9), measures=["mu_bar", "pooled:effective_rank", "effective_rank"])
    parts = [ids(6, 9)[i : i + 2] for i in (0, 2, 4)]
    split = rankscope.probe(model, parts, measures=["mu_bar", "pooled:effective_rank", "effective_rank"])
    for x, y in zip(whole.rows, split.rows, strict=True):
        assert y.value == pytest.approx(x.value, rel=1e-5)
        assert y.samples == pytest.approx(x.samples, rel=1e-5)
    assert split.inputs["sequences"] == 6


def test_batches_may_differ_in_length():
    model = attention_only()
    both = rankscope.probe(model, [ids(2, 9), ids(3, 14)])
    assert {row.status for row in both.rows} == {"ok"}
    assert both.inputs["tokens"] == 2 * 9 + 3 * 14
    first, second = (rankscope.probe(model, ids(*size)) for size in ((2, 9), (3, 14)))
    for row, a, b in zip(both.rows, first.rows, second.rows, strict=True):
        if row.scope == "sequence":
            assert row.samples == pytest.approx((*a.samples, *b.samples), rel=1e-5)


def test_the_model_of_the_user_stays_as_it_was():
    model = attention_only().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attributes = [sorted(vars(module)) for module in model.modules()]
    rng = torch.get_rng_state()
    rankscope.probe(model, ids(), dtype="float64")
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [sorted(vars(module)) for module in model.modules()] == attributes
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), rng)


def test_dtypes_agree_within_their_floors():
    runs = {
        name: rankscope.probe(attention_only(), ids(), measures=["mu_bar_unit"], dtype=name)
        for name in ("float64", "float32", "bfloat16")
    }
    assert values(runs["float32"], "mu_bar_unit") == pytest.approx(values(runs["float64"], "mu_bar_unit"), abs=1e-5)
    assert values(runs["bfloat16"], "mu_bar_unit") == pytest.approx(values(runs["float64"], "mu_bar_unit"), abs=0.03)
    assert runs["bfloat16"].environment["dtype"] == "bfloat16"


def test_a_model_that_cannot_be_differentiated_keeps_the_rest_of_its_report():
    class Detached(Stack):
        def forward(self, ids):
            with torch.no_grad():
                return super().forward(ids)

    report = rankscope.probe(Detached([PreNorm(16) for _ in range(2)]), ids())
    assert {row.status for row in report.rows if row.site == "block"} == {"ok"}
    gradient = [row for row in report.rows if row.site == "gradient"]
    assert gradient
    assert {row.status for row in gradient} == {"undefined"}
    assert all(row.reason for row in gradient)


def test_skipped_layers_are_covered():
    report = rankscope.probe(attention_only(), ids(), measures="mu", skip_layers=["blocks.2"])
    assert report.coverage.found == 7
    assert report.coverage.hooked == report.coverage.fired == report.coverage.measured == 6
    assert report.coverage.skipped == {"blocks.2": "left out by --skip-layers"}


def test_bad_requests():
    with pytest.raises(CaptureError, match="RS422"):
        rankscope.probe(attention_only(), ids(), layers=["nothing.*"])
    with pytest.raises(UsageError, match="did you mean  layers"):
        rankscope.probe(attention_only(), ids(), layer=["x"])
    with pytest.raises(UsageError, match="mu_bar"):
        rankscope.probe(attention_only(), ids(), measures=["mu_baar"])
    with pytest.raises(UsageError, match="unknown dtype"):
        rankscope.probe(attention_only(), ids(), dtype="float31")
    for device in ("gpu", "meta", "cuda:x"):
        with pytest.raises(UsageError, match="unknown device"):
            rankscope.probe(attention_only(), ids(), device=device)
    with pytest.raises(UsageError, match="RS113"):
        rankscope.probe(attention_only(), ids(), device="cuda:99")
    with pytest.raises(InputError, match="holds float32"):
        rankscope.probe(Masked(), {"input_ids": torch.randn(2, 9, 16)})


@pytest.mark.filterwarnings("ignore:.*torch.jit")  # torch's own, of the model under test
def test_a_traced_module_is_refused():
    traced = torch.jit.trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.randn(2, 9, 4))
    with pytest.raises(CaptureError, match="RS404"):
        rankscope.probe(nn.Sequential(traced, nn.Linear(4, 4)), torch.randn(2, 9, 4))


def cubed(output, batch):
    return (output**3).sum()


def test_the_loss_may_be_the_users_own(tmp_path, monkeypatch):
    named = rankscope.probe(attention_only(), ids(), measures=["grad_norm"], loss=cubed)
    assert "loss cubed" in next(note.text for note in named.notes if note.code == "RS531")
    (tmp_path / "my_loss.py").write_text("def cubed(output, batch):\n    return (output**3).sum()\n")
    monkeypatch.chdir(tmp_path)
    found = rankscope.probe(attention_only(), ids(), measures=["grad_norm"], loss="my_loss.py:cubed")
    assert values(found, "grad_norm") == values(named, "grad_norm")
    with pytest.raises(UsageError, match="unknown loss"):
        rankscope.probe(attention_only(), ids(), loss="cubic")
    with pytest.raises(UsageError, match=r"has no missing \[RS114\]"):
        rankscope.probe(attention_only(), ids(), loss="my_loss.py:missing")
    with pytest.raises(UsageError, match="RS114"):
        rankscope.probe(attention_only(), ids(), loss="no_loss.py:missing")


@pytest.mark.gpu
def test_cuda_gives_the_numbers_of_the_cpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    here, there = (rankscope.probe(attention_only(), ids(), device=device) for device in ("cpu", "cuda"))
    assert there.environment["device"].startswith("cuda")
    for a, b in zip(here.rows, there.rows, strict=True):
        assert (a.key, a.status) == (b.key, b.status)
        if a.value is not None:
            assert b.value == pytest.approx(a.value, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda output, batch: 1 / 0, "ZeroDivisionError"),
        (lambda output, batch: output.flatten(), "gave a tensor of shape"),
        (lambda output, batch: None, "gave NoneType"),
        (lambda output, batch: output.sum().item(), "gave float"),
        (lambda output, batch: output.detach().sum(), "does not depend on the output"),
    ],
    ids=["raises", "vector", "none", "float", "detached"],
)
def test_a_loss_that_does_not_work_is_told_as_such(loss, said):
    with pytest.raises(UsageError, match=f"(?s){said}.*RS114|RS114.*{said}"):
        rankscope.probe(attention_only(), ids(), measures="grad_norm", loss=loss)


def test_targets_of_another_shape_are_told():
    inputs = {"ids": ids(), "labels": torch.zeros(2, 3)}
    with pytest.raises(UsageError, match="RS112"):
        rankscope.probe(attention_only(), inputs, measures="grad_norm", loss="mse")


class Speaks(Stack):
    def forward(self, ids):
        super().forward(ids)
        return "a sentence"


def test_an_output_without_tensors_costs_the_gradients_alone():
    report = rankscope.probe(Speaks([PreNorm(16) for _ in range(2)]), ids())
    assert {row.status for row in report.rows if row.site == "block"} == {"ok"}
    assert {row.status for row in report.rows if row.site == "gradient"} == {"undefined"}


def test_python_takes_what_a_flag_takes(tmp_path):
    import numpy as np

    model = attention_only()
    by_list = rankscope.probe(model, ids(), measures=["mu_bar", "value_cosine"], dtype="float64")
    by_text = rankscope.probe(
        model, ids(), measures="mu_bar, value_cosine", dtype=torch.float64, device=torch.device("cpu")
    )
    assert by_list.rows == by_text.rows
    np.save(tmp_path / "ids.npy", ids().numpy())
    assert (
        rankscope.probe(model, str(tmp_path / "ids.npy"), measures="mu").rows
        == rankscope.probe(model, ids(), measures="mu").rows
    )
    (tmp_path / "lines.txt").write_text("a line of text\nand another\n")
    files = {"text": str(tmp_path / "lines.txt"), "tokenizer": "bytes", "weights": str(tmp_path / "weights.pt")}
    _, load, gathering, _ = read_options(None, {**files, "allow": "mypkg.*"})
    assert (load.weights, load.allow) == (tmp_path / "weights.pt", ("mypkg.*",))
    assert (gathering.text, gathering.tokenizer) == (tmp_path / "lines.txt", Path("bytes"))
    read = rankscope.probe("baseline", text=files["text"], tokenizer="bytes", measures="mu")
    assert read.inputs["sequences"] == 2
    with pytest.raises(UsageError, match="unknown way to spectra"):
        rankscope.probe(model, ids(), spectra="fast")


@pytest.mark.parametrize("option", [{"device": "cuda:99"}, {"loss": "foo"}, {"random": "foo"}, {"dtype": "int"}])
def test_a_slip_is_told_before_the_users_code_runs(option, tmp_path, monkeypatch):
    (tmp_path / "net_that_tells.py").write_text("raise RuntimeError('it ran')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        rankscope.probe("net_that_tells.py:Net", **option)
