"""Real models and real model code, from packages of the test extra; each test says which it needs."""

import numpy as np
import pytest
import torch
from architectures import CATALOGUE
from trained import fracast, minilm, package, rxnmapper, sapiens, sapiens_file

import rankscope

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore"),  # these packages warn of their own accord; ours are errors elsewhere
]


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="needs the package transformers, which `make check` installs")


@pytest.fixture
def x_transformers():
    return pytest.importorskip("x_transformers", reason="needs the package x-transformers, which `make check` installs")


def verdicts(report):
    return {depth.stack: depth.verdict for depth in report.depth}


def stacks(report):
    counts = {}
    for layer in report.layers:
        counts[layer.stack] = max(counts.get(layer.stack, 0), layer.index)
    return counts


def reasons(report):
    return {(row.measure, row.status, row.reason) for row in report.rows if row.status != "ok"}


@pytest.mark.parametrize("name", ["GPT2", "Bert", "Llama", "Mamba", "Mamba2", "Mixtral", "T5", "ViT"])
def test_tiny_random_models_of_transformers_with_no_other_word(transformers, name):
    report = rankscope.probe(CATALOGUE[name].build())
    assert tuple(stacks(report).values()) == CATALOGUE[name].blocks
    assert set(verdicts(report).values()) <= {"healthy", "thinning"}
    assert reasons(report) == set()


@pytest.mark.parametrize(("constant", "collapsed"), [(0, True), (1, False)])
def test_x_transformers_without_a_skip_collapse_and_with_one_do_not(x_transformers, constant, collapsed):
    torch.manual_seed(0)
    layers = x_transformers.Encoder(dim=64, depth=6, heads=4, only_attn=True, scale_residual_constant=constant)
    model = x_transformers.TransformerWrapper(num_tokens=256, max_seq_len=128, attn_layers=layers)
    report = rankscope.probe(model, torch.randint(0, 256, (4, 64)), measures="forward")
    (verdict,) = verdicts(report).values()
    assert (verdict == "collapsed") is collapsed


def test_padding_moves_no_number_of_minilm(transformers, tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm(), local_files_only=True)
    sentence = "The quick brown fox jumps over the lazy dog near the river bank."
    np.savez(tmp_path / "alone.npz", **tokenizer(sentence, return_tensors="np"))
    np.savez(tmp_path / "padded.npz", **tokenizer(sentence, return_tensors="np", padding="max_length", max_length=128))
    a, b = (rankscope.probe(f"hf:{minilm()}", input=tmp_path / name) for name in ("alone.npz", "padded.npz"))
    assert [row.key for row in a.rows] == [row.key for row in b.rows]
    for x, y in zip(a.rows, b.rows, strict=True):
        assert x.status == "ok"
        assert y.value == pytest.approx(x.value, rel=1e-5, abs=1e-5), x.key
    assert stacks(a) == {"encoder.layer.*": 6}
    assert str(minilm()) not in a.to_json()


def test_minilm_reads_text_with_its_own_tokenizer(transformers, tmp_path):
    text = tmp_path / "lines.txt"
    text.write_text("A first line of text, about nothing.\nA second, longer line of text, about nothing either.\n")
    report = rankscope.probe(f"hf:{minilm()}", text=text, measures="forward")
    assert report.inputs["sequences"] == 2
    assert 15 < report.inputs["tokens"] < 40
    assert verdicts(report) == {"encoder.layer.*": "healthy"}


def test_rxnmapper_calls_one_block_twelve_times(transformers):
    report = rankscope.probe(f"hf:{rxnmapper()}", measures="forward")
    assert list(stacks(report).values()) == [12]
    assert report.layers[-1].name.endswith("#12")
    assert {row.status for row in report.rows} == {"ok"}


def test_sapiens_is_refused_as_a_file_and_has_four_layers_with_values_in_a_plain_encoder():
    with pytest.raises(rankscope.errors.LoadError, match=r"(?s)RS301.*argparse\.Namespace"):
        rankscope.probe(sapiens_file())
    model, _ = sapiens()
    report = rankscope.probe(model, torch.randint(4, 24, (4, 60)))
    assert stacks(report) == {"encoder.layers.*": 4}
    cosines = [row for row in report.rows if row.measure == "value_cosine"]
    assert [row.status for row in cosines] == ["ok"] * 4
    assert cosines[0].value == pytest.approx(1)


def test_sapiens_attends_with_and_without_the_fast_path_alike():
    model, ids = sapiens()
    found = []
    for enabled in (True, False):
        before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(enabled)
        try:
            found.append(rankscope.probe(model, ids, measures=["mu_bar", "value_cosine", "attention_entropy"]))
            assert torch.backends.mha.get_fastpath_enabled() is enabled
        finally:
            torch.backends.mha.set_fastpath_enabled(before)
    assert [row.value for row in found[0].rows] == [row.value for row in found[1].rows]
    assert {row.status for row in found[0].rows} == {"ok"}


def test_fracast_has_ten_layers_and_says_why_it_has_no_values():
    report = rankscope.probe(*fracast())
    assert list(stacks(report).values()) == [10]
    values = {(row.status, row.reason) for row in report.rows if row.measure == "value_cosine"}
    assert values == {("undefined", "no attention call was seen in this block")}
    assert report.inputs["tokens"] == 2 * 2048


def test_silero_is_refused_with_the_way_out_as_a_file_and_alive():
    file = package("silero-vad", "silero_vad") / "data" / "silero_vad.jit"
    with pytest.raises(rankscope.errors.LoadError, match=r"(?s)TorchScript.*RS302.*yourmodule:Net --weights"):
        rankscope.probe(file)
    with pytest.raises(rankscope.errors.CannotMeasure, match=r"(?s)TorchScript.*yourmodule:Net"):
        rankscope.probe(torch.jit.load(file))
