from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from input_models import Dropping, Either, Ids, Masked, encoder, source

from rankscope.errors import InputError, UsageError
from rankscope.inputs import InputOptions, from_python
from rankscope.inputs.masks import find_keep, pad_ids

KEEP = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
REAL = KEEP.bool()
IDS = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 0, 0], [9, 8, 7, 6, 0]])
MINUS_INF = torch.zeros(3, 5).masked_fill(~REAL, float("-inf"))


@pytest.mark.parametrize("name", ["attention_mask", "input_mask", "decoder_attention_mask"])
@pytest.mark.parametrize("mask", [KEEP, REAL, KEEP.float(), KEEP.to(torch.uint8), MINUS_INF, MINUS_INF.nan_to_num()])
def test_masks_whose_true_entries_keep(name: str, mask: torch.Tensor) -> None:
    assert torch.equal(find_keep({"input_ids": IDS, name: mask}).keep[name], REAL)


@pytest.mark.parametrize("name", ["src_key_padding_mask", "tgt_key_padding_mask", "key_padding_mask"])
@pytest.mark.parametrize("mask", [1 - KEEP, ~REAL, (1 - KEEP).float(), MINUS_INF, MINUS_INF.clamp(min=-1e4)])
def test_masks_whose_true_entries_drop(name: str, mask: torch.Tensor) -> None:
    assert torch.equal(find_keep({"src": torch.randn(3, 5, 8), name: mask}).keep[name], REAL)


def test_left_padding_is_padding_too() -> None:
    real = REAL.flip(1)
    assert torch.equal(find_keep({"input_ids": IDS.flip(1), "attention_mask": real}).keep["attention_mask"], real)


def test_a_mask_that_keeps_all_is_left_out() -> None:
    assert find_keep({"input_ids": IDS, "attention_mask": torch.ones(3, 5)}).keep == {}
    assert find_keep({"x": IDS, "src_key_padding_mask": torch.zeros(3, 5, dtype=torch.bool)}).keep == {}
    assert find_keep({"x": IDS, "mask": torch.zeros(3, 5)}).keep == {}
    assert find_keep({"x": IDS, "mask": torch.ones(3, 5)}).keep == {}


def test_a_row_without_a_real_token_is_allowed() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])
    keep = find_keep({"input_ids": torch.ones(2, 4), "attention_mask": mask}).keep["attention_mask"]
    assert keep.sum(dim=1).tolist() == [4, 0]


def test_encoder_and_decoder_have_masks_of_their_own() -> None:
    other = torch.tensor([[1, 1], [1, 0], [1, 1]])
    named = {"input_ids": IDS, "attention_mask": KEEP, "decoder_input_ids": IDS[:, :2], "decoder_attention_mask": other}
    assert {name: real.shape[1] for name, real in find_keep(named).keep.items()} == {
        "attention_mask": 5,
        "decoder_attention_mask": 2,
    }


# names that are used in both senses


@pytest.mark.parametrize("name", ["mask", "padding_mask", "pad_mask"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("sense", ["keep", "drop"])
def test_evidence_is_what_the_masked_places_hold(name: str, flip: bool, sense: str) -> None:
    ids, real = IDS[1:], REAL[1:]  # no full row
    if flip:
        ids, real = ids.flip(1), real.flip(1)
    found = find_keep({"ids": ids, name: real if sense == "keep" else ~real}, pad=0)
    assert torch.equal(found.keep[name], real)
    assert found.senses[name] == sense


@pytest.mark.parametrize("sense", ["keep", "drop"])
def test_evidence_is_zeros_in_floats(sense: str) -> None:
    x = torch.randn(2, 5, 4) * REAL[1:, :, None]
    found = find_keep({"x": x, "mask": REAL[1:] if sense == "keep" else ~REAL[1:]})
    assert torch.equal(found.keep["mask"], REAL[1:])


@pytest.mark.parametrize("sense", ["keep", "drop"])
def test_evidence_is_a_full_row(sense: str) -> None:
    found = find_keep({"x": torch.randn(3, 5, 4), "mask": REAL if sense == "keep" else ~REAL})
    assert torch.equal(found.keep["mask"], REAL)


def test_without_evidence_the_sense_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"(?s)'mask' was not read.*\[RS220\].*--mask-sense keep.*drop.*--mask none"):
        find_keep({"x": torch.randn(2, 5, 4), "mask": REAL[1:]})


def test_with_evidence_for_both_the_sense_is_asked_for() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]])
    with pytest.raises(InputError, match="RS220"):
        find_keep({"x": torch.randn(3, 4, 4), "mask": mask})


@pytest.mark.parametrize("sense", ["keep", "drop"])
def test_the_sense_that_the_user_gives_comes_first(sense: str) -> None:
    expected = REAL if sense == "keep" else ~REAL
    for name in ("mask", "attention_mask"):
        assert torch.equal(find_keep({"x": IDS, name: REAL}, sense=sense).keep[name], expected)


def test_the_sense_that_the_first_batch_shows_holds_for_the_others() -> None:
    rows = [({"ids": IDS, "mask": ~REAL}), ({"ids": torch.full((2, 5), 9), "mask": ~REAL[1:]})]
    inputs = from_python(source(Either()), rows)
    assert torch.equal(list(inputs.batches)[1].keep["mask"], REAL[1:])
    with pytest.raises(InputError, match="RS220"):
        list(from_python(source(Either()), rows[1:]).batches)


# what is no padding mask


@pytest.mark.parametrize("shape", [(3, 1, 5, 5), (3, 5, 5), (5,)])
def test_masks_of_other_shapes_are_noted(shape: tuple[int, ...]) -> None:
    found = find_keep({"input_ids": IDS, "attention_mask": torch.ones(shape)})
    assert found.keep == {}
    assert [note.code for note in found.notes] == ["RS222"]
    assert "expected (batch, tokens)" in found.notes[0].text


@pytest.mark.parametrize("batch", [3, 5])
def test_a_map_of_who_may_see_whom_is_no_padding_mask(batch: int) -> None:
    causal = torch.nn.Transformer.generate_square_subsequent_mask(5)
    for mask in (causal, causal.isinf(), ~causal.isinf()):
        found = find_keep({"src": torch.randn(batch, 5, 8), "mask": mask})
        assert found.keep == {}
        assert found.notes[0].code == "RS222"


def test_a_square_mask_named_attention_mask_is_no_padding_mask() -> None:
    assert find_keep({"x": torch.randn(3, 5, 8), "attention_mask": torch.ones(5, 5)}).keep == {}
    assert find_keep({"x": torch.randn(5, 5, 8), "attention_mask": torch.ones(5, 5).tril()}).keep == {}


def test_soft_masks_are_noted() -> None:
    found = find_keep({"input_ids": IDS, "attention_mask": torch.full((3, 5), 0.5)})
    assert "other numbers than 0 and 1" in found.notes[0].text


def test_a_mask_of_an_unknown_name_is_noted() -> None:
    (note,) = find_keep({"ids": IDS, "valid_mask": REAL}).notes
    assert note.code == "RS222"
    assert "--mask valid_mask --mask-sense keep" in note.text


def test_memory_masks_are_left_aside() -> None:
    found = find_keep({"tgt": torch.randn(3, 5, 8), "memory_key_padding_mask": ~REAL})
    assert (found.keep, found.notes) == ({}, ())


# what the user says


def test_mask_names_one_argument() -> None:
    named = {"ids": IDS, "attention_mask": KEEP, "valid": REAL}
    assert list(find_keep(named, mask="valid", sense="keep").keep) == ["valid"]
    assert find_keep(named, mask="none").keep == {}


def test_mask_names_what_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"(?s)unknown mask 'attention_maks' \[RS101\].*attention_mask"):
        find_keep({"ids": IDS, "attention_mask": KEEP}, mask="attention_maks")


def test_mask_names_what_is_no_mask() -> None:
    with pytest.raises(UsageError, match=r"--mask x cannot be used: its shape is \(3, 5, 2\).* \[RS221\]"):
        find_keep({"x": torch.randn(3, 5, 2)}, mask="x", sense="keep")


def test_a_sense_without_a_mask_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--mask-sense drop was given, but no padding mask was found.* \[RS221\]"):
        find_keep({"ids": IDS}, sense="drop")


# from a batch to `keep`


def test_a_mask_given_by_position_is_found() -> None:
    (batch,) = from_python(source(Masked()), (IDS, KEEP)).batches
    assert torch.equal(batch.keep["attention_mask"], REAL)


def test_both_senses_through_a_model() -> None:
    keeping = from_python(source(Masked()), {"input_ids": IDS, "attention_mask": KEEP})
    dropping = from_python(source(Dropping()), {"ids": IDS, "src_key_padding_mask": ~REAL})
    for inputs in (keeping, dropping):
        (batch,) = inputs.batches
        (real,) = batch.keep.values()
        assert torch.equal(real, REAL)


def test_masks_are_batch_first_where_the_inputs_are_tokens_first() -> None:
    x, mask = torch.randn(20, 12, 16), torch.zeros(12, 20, dtype=torch.bool)
    mask[:, 15:] = True
    data = {"src": x, "src_key_padding_mask": mask}
    inputs = from_python(source(encoder(batch_first=False)), data, InputOptions(batch_size=5))
    assert inputs.layout == "tbd"
    batches = list(inputs.batches)
    assert [tuple(batch.kwargs["src"].shape) for batch in batches] == [(20, 5, 16), (20, 5, 16), (20, 2, 16)]
    for batch in batches:
        assert tuple(batch.kwargs["src_key_padding_mask"].shape) == (batch.kwargs["src"].shape[1], 20)
        assert torch.equal(batch.keep["src_key_padding_mask"], ~batch.kwargs["src_key_padding_mask"])


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.booleans())
def test_real_tokens_are_those_of_the_lengths(lengths: list[int], left: bool) -> None:
    real = torch.arange(6) < torch.tensor(lengths)[:, None]
    real = real.flip(1) if left else real
    found = find_keep({"input_ids": torch.ones(len(lengths), 6), "attention_mask": real.long()})
    expected = {} if real.all() else {"attention_mask": lengths}
    assert {name: keep.sum(dim=1).tolist() for name, keep in found.keep.items()} == expected


# padding without a mask


@pytest.mark.parametrize(
    ("ids", "end", "count"),
    [
        ([[5, 0, 6, 7]], None, None),
        ([[5, 6, 0, 0]], None, 2),
        ([[0, 0, 0, 6], [1, 2, 3, 4]], None, 3),
        ([[5, 6, 7, 0]], 0, None),
        ([[5, 6, 0, 0]], 0, 2),
    ],
)
def test_ids_that_look_like_padding(ids: list[list[int]], end: int | None, count: int | None) -> None:
    note = pad_ids({"ids": torch.tensor(ids)}, "ids", 0, end)
    assert (note and int(note.text.split()[0])) == count


class Config:
    pad_token_id = 0
    eos_token_id = 1


def test_padding_without_a_mask_is_noted_once() -> None:
    model = Ids()
    model.config = Config()
    inputs = from_python(source(model), IDS)
    assert [note.code for note in inputs.notes] == ["RS223"]
    assert "3 of 15 tokens of ids look like padding (id 0)" in inputs.notes[0].text


def test_no_such_note_with_a_mask_or_on_request() -> None:
    model = Masked()
    model.config = Config()
    assert from_python(source(model), (IDS, KEEP)).notes == ()
    assert from_python(source(model), (IDS,), InputOptions(mask="none")).notes == ()


def test_a_mask_that_forward_does_not_take_drops_no_token() -> None:
    class Bert(Masked):
        config = type("Config", (), {"pad_token_id": 0, "eos_token_id": None})()

    inputs = from_python(source(Bert()), {"input_ids": IDS, "mask": KEEP})
    assert [note.code for note in inputs.notes] == ["RS215", "RS223"]
    assert "did you mean attention_mask?" in inputs.notes[0].text
    assert not any(batch.keep for batch in inputs.batches)
    named = from_python(source(Bert()), {"input_ids": IDS, "mask": KEEP}, InputOptions(mask="mask", mask_sense="keep"))
    assert all(batch.keep for batch in named.batches)
