from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from input_models import Exchanged, Ids, Masked, TokensFirst, encoder, mlp, source
from torch import nn

from rankscope.errors import InputError
from rankscope.inputs import InputOptions, from_python
from rankscope.inputs.batches import own_random

IDS = torch.arange(40).reshape(20, 2)


def sizes(model: nn.Module, data: object, **options: object) -> list[tuple[int, ...]]:
    found = []
    for batch in from_python(source(model), data, InputOptions(**options)).batches:
        first = next(iter((*batch.args, *batch.kwargs.values())))
        found.append(tuple(first.shape))
    return found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [8, 8, 4]),
        ({"batch_size": 20}, [20]),
        ({"batch_size": 7}, [7, 7, 6]),
        ({"batch_size": 1, "batches": 3}, [1, 1, 1]),
        ({"batches": 5}, [8, 8, 4]),
    ],
)
def test_rows_are_split_along_the_batch(options: dict, expected: list[int]) -> None:
    assert [shape[0] for shape in sizes(Ids(), IDS, **options)] == expected


def test_nothing_is_lost_or_moved() -> None:
    batches = from_python(source(Ids()), {"ids": IDS, "labels": IDS[:, 0]}).batches
    assert torch.equal(torch.cat([batch.kwargs["ids"] for batch in batches]), IDS)
    assert torch.equal(torch.cat([batch.kwargs["labels"] for batch in batches]), IDS[:, 0])


def test_arguments_that_do_not_count_sequences_go_whole_into_each() -> None:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(4, 4)

        def forward(self, x, mask, scale, flag, position):
            return self.out(x) * scale

    causal = torch.ones(20, 20).tril()
    data = (torch.randn(20, 20, 4), causal, torch.tensor(2.0), True, torch.arange(20)[None])
    first, second, third = from_python(source(Net()), data, InputOptions()).batches
    for batch, rows in ((first, 8), (second, 8), (third, 4)):
        assert [tuple(v.shape) for v in batch.args if isinstance(v, torch.Tensor)] == [
            (rows, 20, 4),
            (20, 20),
            (),
            (1, 20),
        ]
        assert batch.args[3] is True


def test_tokens_first_are_split_along_the_second_axis() -> None:
    inputs = from_python(source(encoder(batch_first=False)), torch.randn(30, 20, 16))
    assert inputs.layout == "tbd"
    assert [tuple(b.args[0].shape) for b in inputs.batches] == [(30, 8, 16), (30, 8, 16), (30, 4, 16)]


def test_ids_tokens_first() -> None:
    assert sizes(TokensFirst(), torch.ones(30, 20, dtype=torch.int64)) == [(30, 8), (30, 8), (30, 4)]


def test_a_model_that_exchanges_the_axes_itself_takes_batches_first() -> None:
    inputs = from_python(source(Exchanged()), torch.randn(20, 30, 16))
    assert inputs.layout is None
    assert [len(batch.args[0]) for batch in inputs.batches] == [8, 8, 4]


def test_the_layout_that_the_user_gives_comes_first() -> None:
    assert sizes(encoder(batch_first=True), torch.randn(30, 20, 16), layout="tbd") == [
        (30, 8, 16),
        (30, 8, 16),
        (30, 4, 16),
    ]
    assert len(sizes(encoder(batch_first=False), torch.randn(30, 20, 16), layout="btd")) == 4


def test_where_the_axes_cannot_be_seen_nothing_is_split() -> None:
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 4)

        def forward(self, x):
            return self.lstm(x.unflatten(1, (-1, 2)).flatten(0, 1))[0]

    inputs = from_python(source(Hidden()), torch.randn(20, 6, 4))
    assert [note.code for note in inputs.notes] == ["RS226"]
    assert [len(batch.args[0]) for batch in inputs.batches] == [20]
    with_layout = from_python(source(Hidden()), torch.randn(20, 6, 4), InputOptions(layout="btd"))
    assert len(list(with_layout.batches)) == 3


def test_a_matrix_is_one_sequence() -> None:
    inputs = from_python(source(encoder(batch_first=True)), torch.randn(600, 16))
    assert [tuple(batch.args[0].shape) for batch in inputs.batches] == [(600, 16)]


def test_a_matrix_for_an_mlp_is_cut_to_the_longest_sequence() -> None:
    inputs = from_python(source(mlp()), torch.randn(600, 20))
    assert inputs.layout == "bd"
    assert [len(batch.args[0]) for batch in inputs.batches] == [512, 88]
    assert sizes(mlp(), torch.randn(600, 20), max_tokens=250) == [(250, 20), (250, 20), (100, 20)]


def test_a_matrix_of_series_is_split_where_the_layout_says_so() -> None:
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(1)

    assert sizes(Mean(), torch.randn(20, 100), layout="btd") == [(8, 100), (8, 100), (4, 100)]


def test_batches_of_an_iterable_are_as_they_are() -> None:
    data = [IDS[:15], IDS[15:], {"ids": IDS}, (IDS, IDS[:, 0])]
    assert sizes(Ids(), data, batch_size=2) == [(15, 2), (5, 2), (20, 2), (20, 2)]
    assert sizes(Ids(), data, batches=2) == [(15, 2), (5, 2)]


def test_every_pass_gives_the_same() -> None:
    inputs = from_python(source(Ids()), IDS)
    first, second = list(inputs.batches), list(inputs.batches)
    assert all(torch.equal(a.args[0], b.args[0]) for a, b in zip(first, second, strict=True))


def test_an_iterator_is_kept() -> None:
    inputs = from_python(source(Ids()), (IDS[i : i + 4] for i in range(0, 20, 4)), InputOptions(batches=3))
    assert len(list(inputs.batches)) == len(list(inputs.batches)) == 3


def test_batches_are_made_as_they_are_asked_for() -> None:
    made = []

    class Data:
        def __iter__(self):
            for i in range(5):
                made.append(i)
                yield IDS[i : i + 1]

    inputs = from_python(source(Ids()), Data())
    assert made == [0]
    next(iter(inputs.batches))
    assert made == [0, 0]


def test_a_shuffled_loader_gives_the_same_on_every_pass_and_leaves_the_random_state() -> None:
    model = Ids()
    loader = torch.utils.data.DataLoader(IDS, batch_size=4, shuffle=True)
    inputs = from_python(source(model), loader, InputOptions(seed=5))
    assert inputs.seed == 5
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first, second = (torch.cat([batch.args[0] for batch in inputs.batches]) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, IDS)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    other = from_python(source(model), loader, InputOptions(seed=6))
    assert not torch.equal(first, torch.cat([batch.args[0] for batch in other.batches]))


def test_what_the_caller_draws_between_batches_changes_nothing() -> None:
    def make():
        for _ in range(3):
            yield random.random(), np.random.rand(), torch.rand(1).item()

    plain = list(own_random(make, 1))
    mixed = []
    for item in own_random(make, 1):
        mixed.append(item)
        random.random(), np.random.rand(), torch.rand(1)
    assert plain == mixed
    assert plain != list(own_random(make, 2))


def test_a_loader_of_pairs_gives_the_target_apart() -> None:
    data = torch.utils.data.TensorDataset(IDS, torch.arange(20))
    inputs = from_python(source(Ids()), torch.utils.data.DataLoader(data, batch_size=10))
    assert [note.code for note in inputs.notes] == ["RS225"]
    batch = next(iter(inputs.batches))
    assert len(batch.args) == 1
    assert torch.equal(batch.kwargs["target"], torch.arange(10))


def test_a_batch_keeps_the_real_tokens_it_came_with() -> None:
    from rankscope.records import Batch

    keep = {"lengths": torch.tensor([[True, False]] * 20)}
    (batch,) = from_python(source(Ids()), Batch((IDS,), {}, keep)).batches
    assert batch.keep == keep


@pytest.mark.parametrize("data", [[], iter([]), torch.utils.data.DataLoader([])])
def test_no_batch_is_an_error(data: object) -> None:
    with pytest.raises(InputError, match=r"no batch came from python \[RS219\]"):
        from_python(source(Ids()), data)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_empty_tensors_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"python is empty, of shape \(\d, \d\) \[RS219\]"):
        from_python(source(Ids()), torch.ones(shape, dtype=torch.int64))


@pytest.mark.parametrize("data", [3, "file.npz", None, 2.5])
def test_what_is_no_input(data: object) -> None:
    with pytest.raises(InputError, match=r"the inputs cannot be read: they are \w+ \[RS207\]"):
        from_python(source(Ids()), data)


def test_an_unknown_name_is_an_error_before_any_forward() -> None:
    with pytest.raises(InputError, match=r"no parameter 'attn_mask' \[RS213\]"):
        from_python(source(Masked()), {"input_ids": IDS, "attn_mask": IDS})
