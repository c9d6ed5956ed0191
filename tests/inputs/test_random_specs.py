from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from input_models import Ids, Masked, Positions, TokensFirst, mlp, source
from torch import nn

from rankscope.errors import UsageError
from rankscope.inputs import InputOptions, gather
from rankscope.inputs.random import DTYPES, WHOLE, Spec, draw, parse

names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
plain = st.builds(Spec, names, shapes, st.sampled_from(sorted(DTYPES)))
floats = st.floats(-100, 100, allow_nan=False)


@st.composite
def ranged(draw: st.DrawFn) -> Spec:
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    limits = {"bool": (0, 1), "uint8": (0, 255)}.get(dtype, (-128, 127))
    ends = st.integers(*limits) if dtype in WHOLE else floats
    low, high = sorted((draw(ends), draw(ends)))
    return Spec(draw(names), draw(shapes), dtype, low, high)


@given(plain | ranged())
def test_a_spec_reads_back_to_itself(spec: Spec) -> None:
    assert parse(str(spec)) == spec


@given(st.text(max_size=30) | st.from_regex(r"[a-z]=[0-9x:.\-a-z]{0,20}", fullmatch=True))
def test_any_text_is_a_spec_or_a_usage_error(text: str) -> None:
    try:
        spec = parse(text)
    except UsageError:  # any other exception fails the test
        return
    assert parse(str(spec)) == spec


@settings(max_examples=50)
@given(ranged())
def test_what_is_drawn_has_the_shape_dtype_and_range(spec: Spec) -> None:
    (tensor,) = draw([spec], seed=1).values()
    assert tensor.shape == spec.shape
    assert tensor.dtype == DTYPES[spec.dtype]
    slack = 0.5 if spec.dtype in {"float16", "bfloat16"} else 1e-4
    assert spec.low - slack <= tensor.double().min()
    assert tensor.double().max() <= spec.high + slack


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("8x4", "not of the form NAME=SHAPE"),
        ("x=", "not of the form"),
        ("x=8x", "not of the form"),
        ("x=8X4", "not of the form"),
        ("x=8x4:", "not of the form"),
        ("x=8x4:0..1", "not of the form|dtype '0'"),
        ("1x=8x4", "not of the form"),
        ("x=8x0", "a size is zero"),
        ("x=8x4:float", "dtype 'float' is none of float32, float64"),
        ("x=8:int64:5..2", r"5\.\.2 is no range of int64, low end first"),
        ("x=8:int64:0..1.5", r"0\.\.1\.5 is no range of int64"),
        ("x=8:uint8:0..256", r"0\.\.256 is no range of uint8"),
        ("x=8:bool:0..2", "is no range of bool"),
        ("x=8:float32:nan..1", "is no range of float32"),
        ("x=8:float32:0..inf", "is no range of float32"),
        ("x=8:int64:a..b", "is no range of int64"),
        ("x=999999999x999999999", "it would take 3.73e.09 GiB"),
    ],
)
def test_specs_that_are_refused(text: str, match: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        gather(source(mlp()), InputOptions(random=(text,)))
    assert caught.value.code == "RS202"
    assert "--random 'x=8x128x64'" in str(caught.value)


def test_the_whole_range_of_int64_can_be_drawn() -> None:
    (tensor,) = draw([parse(f"x=9:int64:{-(2**63)}..{2**63 - 2}")], seed=0).values()
    assert tensor.dtype == torch.int64


def test_ids_cover_the_embedding_they_go_to() -> None:
    inputs = gather(source(Positions(rows=70)), InputOptions(random=("ids=8x40:int64",)))
    assert inputs.source == "random: idx=8x40:int64:0..69, seed 0"
    (batch,) = inputs.batches
    assert int(batch.kwargs["idx"].max()) == 69
    assert int(batch.kwargs["idx"].min()) == 0


def test_the_range_is_found_where_tokens_come_first() -> None:
    inputs = gather(source(TokensFirst()), InputOptions(random=("ids=128x8:int64",)))
    assert "0..49" in inputs.source
    assert inputs.layout == "tbd"


def test_whole_numbers_that_go_to_no_embedding_need_a_range() -> None:
    with pytest.raises(UsageError, match=r"needs a range: input was seen to go to no embedding of the model \[RS203\]"):
        gather(source(mlp()), InputOptions(random=("x=8x20:int64",)))


def test_a_mask_of_ones_beside_ids() -> None:
    options = InputOptions(random=("input_ids=8x16:int64", "attention_mask=8x16:int64:1..1"))
    (batch,) = gather(source(Masked()), options).batches
    assert list(batch.kwargs) == ["input_ids", "attention_mask"]
    assert batch.kwargs["attention_mask"].all()
    assert not batch.keep


def test_truth_values_need_no_range() -> None:
    values = draw([Spec("x", (200,), "bool", 0, 1)], seed=0)["x"]
    assert values.any()
    assert not values.all()
    (batch,) = gather(source(Masked()), InputOptions(random=("input_ids=2x8:int64", "attention_mask=2x8:bool"))).batches
    assert batch.kwargs["attention_mask"].dtype == torch.bool


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="input is given twice"):
        gather(source(mlp()), InputOptions(random=("input=8x20", "input=8x20")))


def test_the_seed_decides_and_torch_is_left_alone() -> None:
    model = nn.Linear(4, 4)
    state = torch.get_rng_state()

    def first(seed: int) -> torch.Tensor:
        inputs = gather(source(model), InputOptions(random=("x=2x6x4",), seed=seed))
        assert inputs.seed == seed
        return next(iter(inputs.batches)).kwargs["input"]

    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(4))
    assert torch.equal(state, torch.get_rng_state())


def test_floats_take_the_dtype_of_the_model() -> None:
    (batch,) = gather(source(nn.Linear(4, 4).double()), InputOptions(random=("x=2x6x4",))).batches
    assert batch.kwargs["input"].dtype == torch.float64


def test_more_rows_than_a_batch_are_split_and_limited() -> None:
    options = InputOptions(random=("ids=20x6:int64",), batch_size=8)
    assert [len(b.kwargs["ids"]) for b in gather(source(Ids()), options).batches] == [8, 8, 4]
    options = InputOptions(random=("ids=20x6:int64",), batch_size=8, batches=2)
    assert [len(b.kwargs["ids"]) for b in gather(source(Ids()), options).batches] == [8, 8]
