from __future__ import annotations

import numpy as np
import pytest
import torch
from input_models import Ids, Masked
from torch import nn

from rankscope.errors import InputError
from rankscope.inputs.arguments import as_call, bind, parameters
from rankscope.records import Batch

X = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("item", "args", "names"),
    [
        (X, 1, []),
        ((X, X), 2, []),
        ([X, X], 2, []),
        ({"a": X}, 0, ["a"]),
        (((X, X), {"a": X}), 2, ["a"]),
        ((X, {"a": X}), 1, ["a"]),
        (np.zeros((2, 3)), 1, []),
        (Batch((X,), {"a": X}), 1, ["a"]),
    ],
)
def test_a_batch_is_a_tensor_tuple_dict_or_pair(item: object, args: int, names: list[str]) -> None:
    found, kwargs = as_call(item)
    assert (len(found), list(kwargs)) == (args, names)
    assert all(isinstance(value, torch.Tensor) for value in (*found, *kwargs.values()))


@pytest.mark.parametrize("item", ["text", 3, None, {1: X}, object()])
def test_anything_else_is_no_batch(item: object) -> None:
    with pytest.raises(InputError, match=r"a batch of inputs cannot be read: it is \w+ \[RS207\]"):
        as_call(item)


def test_arrays_inside_lists_become_tensors() -> None:
    (value,), _ = as_call(([np.zeros(2), 3],))
    assert isinstance(value[0], torch.Tensor)
    assert value[1] == 3


@pytest.mark.parametrize("name", ["x", "ids", "data", "input", "arr_0"])
def test_names_that_stand_for_the_first_parameter(name: str) -> None:
    (args, kwargs), notes = bind(parameters(Masked()), (), {name: X})
    assert (args, list(kwargs), notes) == ((), ["input_ids"], ())


def test_arr_1_is_the_second_parameter() -> None:
    (_, kwargs), _ = bind(parameters(Masked()), (), {"arr_1": X, "arr_0": X})
    assert list(kwargs) == ["input_ids", "attention_mask"]


def test_a_parameter_of_that_name_comes_first() -> None:
    class Net(nn.Module):
        def forward(self, y, x):
            return y + x

    (_, kwargs), _ = bind(parameters(Net()), (X,), {"x": X})
    assert list(kwargs) == ["x"]


def test_keyword_arguments_take_the_order_of_the_parameters() -> None:
    (_, kwargs), _ = bind(parameters(Masked()), (), {"attention_mask": X, "input_ids": X})
    assert list(kwargs) == ["input_ids", "attention_mask"]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    with pytest.raises(
        InputError, match=r"(?s)no parameter 'src_padding_mask' \[RS213\].*did you mean  src_key_padding"
    ):
        bind(parameters(encoder), (X,), {"src_padding_mask": X})


def test_a_misspelt_name_is_refused_although_forward_takes_any() -> None:
    with pytest.raises(InputError, match=r"(?s)no parameter 'attn_mask' \[RS213\].*did you mean  attention_mask"):
        bind(parameters(Masked()), (X,), {"attn_mask": X})


def test_a_name_far_from_all_is_noted_where_forward_takes_any() -> None:
    (_, kwargs), (note,) = bind(parameters(Masked()), (X,), {"use_cache": False})
    assert note.code == "RS215"
    assert "'use_cache'" in note.text
    assert kwargs == {"use_cache": False}


@pytest.mark.parametrize("name", ["labels", "targets", "y"])
def test_targets_are_kept_although_forward_does_not_know_them(name: str) -> None:
    (_, kwargs), notes = bind(parameters(Ids()), (X,), {name: X})
    assert (list(kwargs), notes) == ([name], ())


def test_one_value_too_many_is_the_target() -> None:
    (args, kwargs), (note,) = bind(parameters(Ids()), (X, X + 1), {})
    assert note.code == "RS225"
    assert len(args) == 1
    assert torch.equal(kwargs["target"], X + 1)


def test_two_values_too_many_are_refused() -> None:
    with pytest.raises(InputError, match=r"3 values were given by position, but forward takes 1 \[RS214\]"):
        bind(parameters(Ids()), (X, X, X), {})


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(InputError, match=r"forward needs 'tgt' too \[RS214\]"):
        bind(parameters(nn.Transformer(8, 2, 1, 1, 16, batch_first=True)), (X,), {})


def test_an_argument_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"'ids' was given twice, by position and by name \[RS214\]"):
        bind(parameters(Ids()), (X,), {"ids": X})


@pytest.mark.parametrize("inside", ["module", "_orig_mod"])  # data parallel, torch.compile
def test_wrappers_are_looked_through(inside: str) -> None:
    class Wrapper(nn.Module):
        def forward(self, *args, **kwargs):
            return getattr(self, inside)(*args, **kwargs)

    wrapper = Wrapper()
    setattr(wrapper, inside, Masked())
    assert parameters(wrapper) == parameters(Masked())


def test_a_forward_of_any_arguments_binds_anything() -> None:
    class Any(nn.Module):
        def forward(self, *values, **named):
            return values

    (args, kwargs), notes = bind(parameters(Any()), (X, X), {"z": X})
    assert (len(args), list(kwargs), [note.code for note in notes]) == (2, ["z"], ["RS215"])
    assert list(parameters(Any()).named(args, kwargs)) == ["0", "1", "z"]
