from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from input_models import Dropping, Either, Ids, Masked, Positions, TokensFirst, source
from torch import nn

from rankscope.errors import InputError, RankscopeError, UsageError
from rankscope.inputs import InputOptions, gather

if TYPE_CHECKING:
    from pathlib import Path

    from rankscope.records import Inputs

LINES = ["the first line", "a second, longer line", "third", "", "   ", "the fourth one"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


def read(model: nn.Module, path: Path, **options: object) -> Inputs:
    return gather(source(model), InputOptions(text=path, **options))


def decoded(inputs: Inputs, ids: str = "ids") -> list[str]:
    found = []
    for batch in inputs.batches:
        (keep,) = batch.keep.values() or (torch.ones_like(batch.kwargs[ids], dtype=torch.bool),)
        found += [bytes(row[real].tolist()).decode() for row, real in zip(batch.kwargs[ids], keep, strict=True)]
    return found


def test_one_sequence_a_line_as_bytes(text: Path) -> None:
    inputs = read(Dropping(rows=256), text)
    (batch,) = inputs.batches
    assert inputs.source == "text: corpus.txt, bytes"
    assert decoded(inputs) == [line for line in LINES if line.strip()]
    assert batch.kwargs["ids"].shape == (4, 21)
    assert torch.equal(batch.kwargs["src_key_padding_mask"], ~batch.keep["src_key_padding_mask"])


def test_the_mask_has_the_sense_of_its_name(text: Path) -> None:
    (batch,) = read(Masked(rows=256), text).batches
    assert batch.kwargs["attention_mask"].dtype == torch.int64
    assert batch.kwargs["attention_mask"].sum(dim=1).tolist() == [14, 21, 5, 14]
    assert torch.equal(batch.kwargs["attention_mask"].bool(), batch.keep["attention_mask"])


@pytest.mark.parametrize("model", [Ids, Either])
def test_without_a_mask_sequences_of_equal_length_go_together(model: type[Ids], text: Path) -> None:
    inputs = read(model(rows=256), text)
    assert [tuple(batch.kwargs["ids"].shape) for batch in inputs.batches] == [(2, 14), (1, 21), (1, 5)]
    assert sorted(decoded(inputs)) == sorted(line for line in LINES if line.strip())
    assert not any(batch.keep for batch in inputs.batches)


def test_mask_none_passes_no_mask(text: Path) -> None:
    batches = list(read(Masked(rows=256), text, mask="none").batches)
    assert [list(batch.kwargs) for batch in batches] == [["input_ids"]] * 3


def test_a_mask_of_either_sense_is_passed_on_request(text: Path) -> None:
    (batch,) = read(Either(rows=256), text, mask="mask", mask_sense="keep").batches
    assert batch.kwargs["mask"].dtype == torch.bool
    assert torch.equal(batch.kwargs["mask"], batch.keep["mask"])
    (batch,) = read(Either(rows=256), text, mask="mask", mask_sense="drop").batches
    assert torch.equal(~batch.kwargs["mask"], batch.keep["mask"])
    with pytest.raises(InputError, match="RS220"):
        read(Either(rows=256), text, mask="mask")
    with pytest.raises(UsageError, match=r"unknown mask 'maks' \[RS101\]"):
        read(Either(rows=256), text, mask="maks")


@pytest.mark.parametrize(("options", "rows"), [({"batches": 1, "batch_size": 2}, 2), ({"batches": 9}, 4)])
def test_batches_limits_the_sequences(text: Path, options: dict, rows: int) -> None:
    for model in (Masked(rows=256), Ids(rows=256)):
        inputs = read(model, text, **options)
        first = [next(iter(batch.kwargs.values())) for batch in inputs.batches]
        assert sum(map(len, first)) == rows


def test_batch_size(text: Path) -> None:
    shapes = [tuple(batch.kwargs["input_ids"].shape) for batch in read(Masked(rows=256), text, batch_size=3).batches]
    assert shapes == [(3, 21), (1, 14)]


def test_long_sequences_are_cut_and_noted(text: Path) -> None:
    inputs = read(Masked(rows=256), text, max_tokens=10)
    assert [(note.code, note.text) for note in inputs.notes] == [("RS224", "3 of 4 sequences were cut to 10 tokens")]
    (batch,) = inputs.batches
    assert batch.kwargs["input_ids"].shape == (4, 10)


def test_sequences_are_no_longer_than_the_model_takes(text: Path) -> None:
    inputs = read(Positions(longest=12, rows=256), text)
    assert [note.text for note in inputs.notes] == ["3 of 4 sequences were cut to 12 tokens"]
    assert {batch.kwargs["idx"].shape[1] for batch in inputs.batches} == {12, 5}


def test_tokens_first(text: Path) -> None:
    class Bytes(TokensFirst):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(256, 16)

    inputs = read(Bytes(), text)
    assert inputs.layout == "tbd"
    assert [tuple(batch.kwargs["ids"].shape) for batch in inputs.batches] == [(14, 2), (21, 1), (5, 1)]


def test_every_pass_gives_the_same(text: Path) -> None:
    batches = read(Ids(rows=256), text).batches
    assert [b.kwargs["ids"].tolist() for b in batches] == [b.kwargs["ids"].tolist() for b in batches]


def test_bytes_of_other_scripts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffété\r\nнет\u2028да\r\n".encode())
    inputs = read(Masked(rows=256), tmp_path / "a.txt")
    assert decoded(inputs, "input_ids") == ["été", "нет\u2028да"]


# records


def test_records(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"id": i, "body": line}) for i, line in enumerate(LINES)))
    assert decoded(read(Masked(rows=256), path, text_field="body"), "input_ids") == [x for x in LINES if x.strip()]


@pytest.mark.parametrize(
    ("content", "field", "match"),
    [
        ('{"a": "x"}', None, r"a.jsonl holds records: name the field that is the text with --text-field \[RS201\]"),
        ('{"a": "x"}\n{"b": "y"}', "a", r"(?s)line 2 has no text in the field 'a' \[RS208\].*it has  b"),
        ('{"a": 3}', "a", "line 1 has no text in the field 'a'"),
        ('["x"]', "a", "(?s)line 1 has no text .*it has  list"),
        ('{"a": "x"}\n{"a": ', "a", r"line 2 is no JSON: .* \[RS208\]"),
        ("\n \n", "a", r"holds no sequence: it is empty \[RS208\]"),
        ('{"a": " "}', "a", r"holds no token \[RS208\]"),
    ],
)
def test_records_that_are_refused(tmp_path: Path, content: str, field: str | None, match: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(RankscopeError, match=match):
        read(Ids(rows=256), path, text_field=field)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", r"a.txt holds no sequence: it is empty \[RS208\]"),
        (b"caf\xe9", r"a.txt was not read: it is no UTF-8, byte 3 is 0xe9 \[RS208\]"),
        (b"\x80\x02\x8a", "no UTF-8"),
    ],
)
def test_text_that_is_refused(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=match):
        read(Ids(rows=256), tmp_path / "a.txt")


def test_no_such_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.txt was not read: No such file or directory \[RS204\]"):
        read(Ids(rows=256), tmp_path / "a.txt")


def test_a_model_without_arguments(text: Path) -> None:
    class Nothing(nn.Module):
        def forward(self):
            return torch.zeros(1)

    with pytest.raises(InputError, match=r"its forward takes no argument \[RS214\]"):
        read(Nothing(), text)


# tokenizers


def test_a_large_vocabulary_needs_a_tokenizer(text: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)the vocabulary of the model has 300 ids.* \[RS209\].*--tokenizer DIR"):
        read(Ids(rows=300), text)
    assert read(Ids(rows=300), text, tokenizer="bytes").source == "text: corpus.txt, bytes"


def test_a_model_that_looks_nothing_up(text: Path) -> None:
    stock = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    for model in (nn.Linear(4, 4), stock):
        for tokenizer in (None, "bytes"):
            with pytest.raises(InputError, match=r"takes numbers, not token ids \[RS218\]"):
                read(model, text, tokenizer=tokenizer)


def test_bytes_outside_a_small_vocabulary(text: Path) -> None:
    with pytest.raises(InputError, match=r"ids holds the token id 1\d\d, but embedding has 100 rows"):
        read(Ids(rows=100), text)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_tokenizer_that_is_not_there(text: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=rf"tokenizer .*{name} was not loaded.* \[RS209\]"):
        read(Ids(rows=300), text, tokenizer=tmp_path / name)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "first", "second", "longer", "line", "a", "third", "fourth", "one"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tokenizer.json whose own settings pad every text to 32."""
    tokenizers = pytest.importorskip("tokenizers", reason="the tokenizers package is in the extra hf")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=32)
    path = tmp_path / "model"
    path.mkdir()
    tokenizer.save(str(path / "tokenizer.json"))
    return path


@pytest.mark.models
@pytest.mark.parametrize("kind", ["folder", "file", "own", "transformers"])
def test_a_tokenizer(text: Path, folder: Path, kind: str) -> None:
    if kind == "transformers":
        pytest.importorskip("transformers", reason="the transformers package is in the extra hf")
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "model_max_length": 64}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    given = {"folder": folder, "transformers": folder, "file": folder / "tokenizer.json", "own": None}[kind]
    model = source(Masked(rows=300), directory=folder if kind == "own" else None)
    inputs = gather(model, InputOptions(text=text, tokenizer=given))
    assert inputs.source == "text: corpus.txt, model"
    (batch,) = inputs.batches
    assert batch.kwargs["input_ids"].tolist() == [
        [2, 4, 5, 8, 3, 0, 0],
        [2, 9, 6, 1, 7, 8, 3],
        [2, 10, 3, 0, 0, 0, 0],
        [2, 4, 11, 12, 3, 0, 0],
    ]
    assert batch.kwargs["attention_mask"].sum(dim=1).tolist() == [5, 7, 3, 5]


@pytest.mark.models
def test_a_cut_sequence_keeps_its_end(text: Path, folder: Path) -> None:
    inputs = read(Masked(rows=300), text, tokenizer=folder, max_tokens=4)
    (batch,) = inputs.batches
    assert batch.kwargs["input_ids"].tolist() == [[2, 4, 5, 3], [2, 9, 6, 3], [2, 10, 3, 0], [2, 4, 11, 3]]
    assert [note.text for note in inputs.notes] == ["3 of 4 sequences were cut to 4 tokens"]


@pytest.mark.models
@pytest.mark.parametrize("content", ["", "{}", "not json"])
def test_a_damaged_tokenizer(text: Path, folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"the tokenizer model was not loaded \[RS209\]"):
        read(Ids(rows=300), text, tokenizer=folder)


def test_a_package_that_is_not_installed(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"(?s)tokenizers is not installed \[RS209\].*pip install 'rankscope\[hf\]'"):
        read(Ids(rows=300), text, tokenizer=tmp_path)


def test_a_decoder_reads_the_text_one_place_later(text: Path) -> None:
    class Config:
        is_encoder_decoder = True
        pad_token_id = 0
        decoder_start_token_id = 7

    class Both(Masked):
        config = Config()

        def forward(self, input_ids, attention_mask=None, decoder_input_ids=None, decoder_attention_mask=None):
            return self.out(self.embedding(input_ids)), self.out(self.embedding(decoder_input_ids))

    (batch,) = read(Both(rows=256), text).batches
    ids, later = batch.kwargs["input_ids"], batch.kwargs["decoder_input_ids"]
    assert torch.equal(later[:, 1:], ids[:, :-1])
    assert (later[:, 0] == 7).all()
    assert set(batch.keep) == {"attention_mask", "decoder_attention_mask"}
