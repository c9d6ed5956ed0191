"""Every measure of the forward pass on whole models: attention, heads, padding, vectors, tokens that run out."""

import json
import math
import time

import pytest
import torch
from nets import Attention, Masked, Stack, cnn, ids
from reports import a_report
from torch import nn
from torch.nn import functional as F

import rankscope
from rankscope.cli import main
from rankscope.records import Report, Vector
from rankscope.table import tables

UNIFORM = """
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm, self.qkv = heads, nn.LayerNorm(width), nn.Linear(width, 3 * width)
        nn.init.zeros_(self.qkv.weight[: 2 * width])  # equal scores: every position that may be seen weighs the same
        nn.init.zeros_(self.qkv.bias[: 2 * width])

    def forward(self, x):
        parts = self.qkv(self.norm(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return x + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.blocks = nn.ModuleList(Block(16, 2) for _ in range(2))

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return x
"""


def rows(report, measure, head=None):
    return [row for row in report.rows if row.measure == measure and row.head == head]


@pytest.mark.parametrize(("tokens", "entropy"), [(128, 4.43865), (2048, 7.20251)])
def test_uniform_causal_attention_through_the_command_line(tmp_path, monkeypatch, tokens, entropy):
    (tmp_path / "uniform.py").write_text(UNIFORM)
    monkeypatch.chdir(tmp_path)
    began = time.perf_counter()
    measures = ["--measures", "attention_entropy_ratio,head:attention_entropy"]
    line = ["probe", "uniform.py:Net", "--random", f"ids=1x{tokens}:int64:0..49", *measures]
    assert main([*line, "-o", "r.json"]) == 0
    assert time.perf_counter() - began < 60, "a map of 2048 x 2048 is affordable"
    report = Report.from_json((tmp_path / "r.json").read_text())
    found = [*rows(report, "attention_entropy"), *rows(report, "attention_entropy", 0)]
    found += rows(report, "attention_entropy", 1)
    assert len(found) == 6
    for row in found:
        assert row.value == pytest.approx(entropy, abs=1e-5)
        assert row.reference == pytest.approx(entropy, abs=5e-6)
        assert row.ceiling == pytest.approx(math.log(tokens))
    assert [row.value for row in rows(report, "attention_entropy_ratio")] == pytest.approx([1, 1], abs=1e-6)


HEADS = ["head:value_cosine", "head:value_drain", "head:attention_entropy_ratio", "head:value_spectrum"]


def test_padding_moves_no_number_of_full_nor_of_a_head():
    alone = ids(1, 9)
    padded = torch.cat([torch.zeros(1, 11, dtype=torch.long), alone], 1)
    mask = (torch.arange(20) >= 11).long().unsqueeze(0)
    measures = ["full", *HEADS, "singular_values", "pooled:singular_values_centered"]
    a = rankscope.probe(Masked(), {"input_ids": alone, "attention_mask": mask[:, 11:]}, measures=measures)
    b = rankscope.probe(Masked(), {"input_ids": padded, "attention_mask": mask}, measures=measures)
    assert [row.key for row in a.rows] == [row.key for row in b.rows]
    assert len({row.key for row in a.rows}) == len(a.rows)
    for x, y in zip(a.rows, b.rows, strict=True):
        assert (x.status, x.reason) == (y.status, y.reason), x.key
        if x.value is not None:
            assert y.value == pytest.approx(x.value, rel=1e-3, abs=1e-4), x.key
    assert {vector.measure for vector in a.spectra} == {"value_spectrum", "singular_values", "singular_values_centered"}
    for x, y in zip(a.spectra, b.spectra, strict=True):
        assert x.key == y.key
        assert y.samples[0] == pytest.approx(x.samples[0], rel=1e-3, abs=1e-3), x.key


def test_a_token_that_is_not_a_number_makes_its_map_none():
    model = Masked()
    model.embed.weight.data[10] = math.nan
    given = ids(2, 9).clamp(max=9)
    given[1, 4] = 10
    report = rankscope.probe(model, given, measures=["attention_entropy", "value_drain"])
    assert {row.reason for row in report.rows} == {"non-finite values in 1 of 2 sequences"}


def test_full_is_had_whole_of_a_model_with_attention():
    report = rankscope.probe(Masked(), ids(2, 12), measures="full")
    assert {row.status for row in report.rows} == {"ok"}, [row.key for row in report.rows if row.status != "ok"]
    assert {row.site for row in report.rows} == {"block", "value", "attention", "gradient", "weight_gradient"}
    assert {(vector.measure, vector.status, len(vector.samples)) for vector in report.spectra} == {
        ("value_spectrum", "ok", 2)
    }
    assert Report.from_json(report.to_json()) == report


class Mixes(nn.Module):
    """A block whose attention gets half of its own values and half of those of the first block."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)

    def forward(self, x, first=None):
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        mixed = v if first is None else 0.5 * first + 0.5 * v
        return x + F.scaled_dot_product_attention(q, k, mixed).transpose(1, 2).flatten(2), v


class Residual(Stack):
    def forward(self, ids):
        x, first = self.embed(ids), None
        for block in self.blocks:
            x, v = block(x, first)
            first = v if first is None else first
        return self.head(x)


def test_values_are_compared_before_and_after_the_mix():
    torch.manual_seed(0)
    measures = ["value_cosine", "value_cosine_mixed", "value_delta"]
    mixed = rankscope.probe(Residual([Mixes(16) for _ in range(4)]), ids(), measures=measures)
    for own, row in zip(rows(mixed, "value_cosine")[1:], rows(mixed, "value_cosine_mixed")[1:], strict=True):
        assert row.value > 0.4, "half of V_1 is in it"
        assert own.value < row.value - 0.1, "V_n itself has none of it"
    plain = rankscope.probe(Stack([Attention(16) for _ in range(4)]), ids(), measures=measures)
    for a, b in zip(rows(plain, "value_cosine"), rows(plain, "value_cosine_mixed"), strict=True):
        assert a.value == b.value, "nothing is mixed"
    assert rows(plain, "value_delta")[0].value == 0


class Grouped(nn.Module):
    """Four heads of queries share two heads of keys and values."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.q, self.kv = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        h = self.norm(x)
        k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.kv(h).chunk(2, -1))
        k, v = (t[:, :, None].expand(-1, -1, 2, -1, -1).reshape(len(x), 4, *t.shape[2:]) for t in (k, v))
        q = self.q(h).unflatten(-1, (4, -1)).transpose(1, 2)
        return x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("batch", [1, 3])
def test_values_have_the_heads_of_keys_and_values_whatever_the_batch(batch):
    torch.manual_seed(0)
    model = Stack([Grouped(16) for _ in range(3)])
    measures = ["head:value_drain", "value_spectrum", "head:attention_entropy"]
    report = rankscope.probe(model, ids(batch, 9), measures=measures)
    assert {row.head for row in report.rows if row.site == "value"} == {0, 1}
    assert {row.head for row in report.rows if row.site == "attention"} == {0, 1, 2, 3}
    assert {len(sample) for vector in report.spectra for sample in vector.samples} == {8}


class Translator(nn.Module):
    """Encoder and decoder with padding of their own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 16)
        self.net = nn.Transformer(16, 2, 2, 3, 32, batch_first=True)

    def forward(self, input_ids, decoder_input_ids, attention_mask=None, decoder_attention_mask=None):
        source = None if attention_mask is None else attention_mask == 0
        target = None if decoder_attention_mask is None else decoder_attention_mask == 0
        causal = torch.ones(decoder_input_ids.shape[1], decoder_input_ids.shape[1], dtype=torch.bool).triu(1)
        return self.net(
            self.embed(input_ids),
            self.embed(decoder_input_ids),
            tgt_mask=causal,
            src_key_padding_mask=source,
            tgt_key_padding_mask=target,
            memory_key_padding_mask=source,
        )


def test_cross_attention_has_rows_of_its_own_with_the_masks_of_both_sides():
    given = {"input_ids": ids(2, 12), "decoder_input_ids": ids(2, 7)}
    given["attention_mask"] = (torch.arange(12) < torch.tensor([[12], [8]])).long()
    given["decoder_attention_mask"] = (torch.arange(7) < torch.tensor([[7], [5]])).long()
    report = rankscope.probe(Translator(), given, measures="attention_entropy")
    found = {(row.stack, row.layer_index, row.parameter): row for row in report.rows}
    decoder = next(stack for stack, _, parameter in found if parameter == "cross")
    cross = [row for (stack, _, parameter), row in found.items() if stack == decoder and parameter == "cross"]
    own = [row for (stack, _, parameter), row in found.items() if stack == decoder and parameter is None]
    assert len(cross) == len(own) == 3
    assert {row.status for row in report.rows} == {"ok"}, {row.reason for row in report.rows}
    for row in cross:
        assert row.ceiling == row.reference == pytest.approx((math.log(12) + math.log(8)) / 2)
        assert row.tokens == 12
    for row in own:
        assert row.ceiling == pytest.approx((math.log(7) + math.log(5)) / 2)
        assert row.reference < row.ceiling, "the decoder is causal"
    labels = {column.label for table in tables(report) for column in table.columns}
    assert labels == {"attention_entropy", "cross:attention_entropy"}


def test_models_without_attention_say_why_there_is_no_map():
    report = rankscope.probe(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(30, 4), measures="full"
    )
    found = [row for row in report.rows if row.site in {"value", "attention"}]
    assert {row.status for row in found} == {"undefined"}
    assert all(row.reason for row in found)
    assert {vector.status for vector in report.spectra} == {"undefined"}
    assert all(vector.reason and vector.samples == () for vector in report.spectra)


def test_a_model_that_ends_in_pooling_is_judged_on_the_layers_before():
    report = rankscope.probe(cnn(), torch.randn(2, 3, 12, 12), layers=["*"], measures="forward")
    judged = report.depth[0]
    assert judged.verdict != "undefined"
    assert "judged up to " in judged.reason
    assert "fewer than 4 tokens" in judged.reason


def test_a_report_of_vectors_survives_json_and_older_reports_have_none():
    vector = Vector("h", 1, "h.0", "block", "pooled", None, None, "singular_values", 1, ((3.0, 0.1 + 0.2),), 1e-9)
    gone = Vector("h", 2, "h.1", "value", "sequence", 3, None, "value_spectrum", 1, (), None, "undefined", "why")
    partly = Vector("h", 3, "h.2", "value", "sequence", None, None, "value_spectrum", 1, ((1.0,), None))
    report = Report(model={}, rows=(), spectra=(vector, gone, partly))
    assert Report.from_json(report.to_json()) == report
    data = json.loads(a_report().to_json())
    assert data.pop("spectra") == []
    assert Report.from_json(json.dumps(data)).spectra == ()


def test_vectors_are_left_out_of_tables():
    report = rankscope.probe(Masked(), ids(), measures=["mu", "singular_values"])
    assert {column.measure for table in tables(report) for column in table.columns} == {"mu"}
    assert set(report.to_frame()["measure"]) == {"mu"}
    assert "RS513" in {note.code for note in report.notes}


@pytest.mark.filterwarnings("default::rankscope.errors.DegradedWarning")
def test_vectors_alone_are_a_measurement(tmp_path, monkeypatch, capsys):
    (tmp_path / "uniform.py").write_text(UNIFORM)
    monkeypatch.chdir(tmp_path)
    line = ["probe", "uniform.py:Net", "--random", "ids=2x16:int64:0..49", "--measures", "pooled:singular_values"]
    assert main([*line, "-o", "r.json", "-o", "r.csv", "-o", "r.md"]) == 0
    assert "warning: the csv holds no row: what was measured, singular_values, is" in capsys.readouterr().err
    report = Report.from_json((tmp_path / "r.json").read_text())
    assert report.rows == ()
    assert [len(vector.samples[0]) for vector in report.spectra] == [16, 16, 16]
    assert report.coverage.measured == 3
