from __future__ import annotations

import pytest
import torch
from input_models import Exchanged, Ids, Positions, TokensFirst, encoder, mlp, source
from torch import nn

from rankscope.errors import InputError
from rankscope.inputs import InputOptions, from_python
from rankscope.inputs.dry_run import dry_run

IDS = torch.ones(3, 5, dtype=torch.int64)


class Noisy(nn.Module):
    """Changes what a forward may change: its mode matters, and it draws random numbers."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.out = nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 4)

    def forward(self, x, fail=False):
        torch.rand(3)
        x = self.out(self.drop(self.norm(x)))
        if fail:
            raise ValueError("half-way")
        return x


@pytest.mark.parametrize("fail", [False, True])
def test_nothing_is_left_behind(fail: bool) -> None:
    model = Noisy()
    model.drop.eval()
    modes = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rng, fast = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    x = torch.randn(3, 4)
    before, rng = x.clone(), torch.get_rng_state()
    seen = dry_run(model, (x, fail), {}, whole=True)
    assert (seen.error is not None) == fail
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert torch.equal(x, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.is_grad_enabled()


def test_the_fast_path_that_was_off_stays_off() -> None:
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        dry_run(encoder(batch_first=True), (torch.randn(2, 5, 16),), {})
        assert not torch.backends.mha.get_fastpath_enabled()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_the_users_tensors_are_not_written() -> None:
    class InPlace(nn.Module):
        def forward(self, x):
            return x.add_(1)

    x = torch.zeros(2, 2)
    dry_run(InPlace(), (x,), {}, whole=True)
    assert x.sum() == 0


def test_it_stops_at_the_first_weights() -> None:
    class Counts(Ids):
        calls = 0

        def forward(self, ids):
            x = super().forward(ids)
            Counts.calls += 1
            return x

    model = Counts()
    dry_run(model, (IDS,), {})
    assert Counts.calls == 0
    dry_run(model, (IDS,), {}, whole=True)
    assert Counts.calls == 1


def test_the_embedding_that_takes_the_ids_is_found_by_what_reaches_it() -> None:
    seen = dry_run(Positions(longest=40, rows=70), (IDS,), {})
    assert {name: (use.where, use.rows) for name, use in seen.embeddings().items()} == {"idx": ("tokens", 70)}


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (encoder(batch_first=True), (3, 5, 16), False),
        (encoder(batch_first=False), (3, 5, 16), True),
        (Exchanged(), (3, 5, 16), False),
        (nn.LSTM(16, 8), (3, 5, 16), True),
        (nn.LSTM(16, 8, batch_first=True), (3, 5, 16), False),
        (nn.LSTM(16, 8), (5, 16), None),
        (mlp(), (3, 20), False),
    ],
)
def test_which_axis_comes_first(model: nn.Module, shape: tuple[int, ...], expected: bool | None) -> None:
    assert dry_run(model, (torch.randn(shape),), {}).tokens_first is expected


def test_ids_that_come_tokens_first() -> None:
    assert dry_run(TokensFirst(), (IDS,), {}).tokens_first is True


# what does not fit, told before the forward


@pytest.mark.parametrize("bad", [50, 1000, -1])
@pytest.mark.parametrize("row", [0, 17])
def test_ids_out_of_range(bad: int, row: int) -> None:
    ids = torch.ones(20, 6, dtype=torch.int64)
    ids[row, 2] = bad
    with pytest.raises(InputError, match=rf"ids holds the token id {bad}, but embedding has 50 rows") as e:
        from_python(source(Ids(rows=50)), ids)
    assert e.value.code == "RS216"
    assert "expected  0..49" in str(e.value)
    assert f"1 outside, the first at [{row}, 2]" in str(e.value)


def test_ids_out_of_range_in_a_later_batch() -> None:
    inputs = from_python(source(Ids()), [IDS, IDS + 60])
    with pytest.raises(InputError, match=r"token id 61, .* has 50 rows \[RS216\]"):
        list(inputs.batches)


def test_a_sequence_longer_than_the_table_of_positions() -> None:
    with pytest.raises(InputError, match=r"idx has 41 tokens a sequence, but positions .* for 40 at most") as caught:
        from_python(source(Positions(longest=40)), torch.ones(9, 41, dtype=torch.int64))
    assert caught.value.code == "RS216"
    assert "--random 'idx=9x40:int64:0..69'" in str(caught.value)


def test_columns_with_vocabularies_of_their_own_are_not_refused() -> None:
    class Columns(nn.Module):
        def __init__(self):
            super().__init__()
            self.small, self.large, self.out = nn.Embedding(3, 4), nn.Embedding(90, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.out(self.small(x[:, 0]) + self.large(x[:, 1]))

    table = torch.tensor([[2, 80]] * 5)
    (batch,) = from_python(source(Columns()), table).batches
    assert torch.equal(batch.args[0], table)


def test_an_embedding_with_a_forward_of_its_own_is_not_judged_by_what_reaches_it() -> None:
    class Learned(nn.Embedding):  # positions by the length alone, as in BART
        def forward(self, ids):
            return super().forward(torch.arange(ids.shape[1]))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions, self.out = nn.Embedding(90, 4), Learned(10, 4), nn.Linear(4, 4)

        def forward(self, ids):
            return self.out(self.tokens(ids) + self.positions(ids))

    assert len(list(from_python(source(Net()), torch.full((2, 6), 80)).batches)) == 1


def test_floats_where_ids_are_wanted() -> None:
    with pytest.raises(InputError, match=r"ids holds float32 of shape \(2, 6\), but embedding \(Embedding\)") as caught:
        from_python(source(Ids()), torch.randn(2, 6))
    assert caught.value.code == "RS217"
    assert "--random 'ids=8x128:int64:0..49'" in str(caught.value)


def test_the_shape_told_is_the_one_that_was_given() -> None:
    with pytest.raises(InputError, match=r"holds float32 of shape \(8, 32, 64\), but embedding"):
        from_python(source(Ids()), torch.randn(8, 32, 64))
    with pytest.raises(InputError, match=r"holds int64 of shape \(7, 20\), but"):
        from_python(source(nn.LSTM(20, 4)), torch.ones(7, 20, dtype=torch.int64))


@pytest.mark.parametrize("model", [mlp(), nn.Conv2d(3, 4, 3), nn.LSTM(20, 4), encoder(batch_first=True, width=20)])
def test_ids_where_floats_are_wanted(model: nn.Module) -> None:
    shape = (2, 3, 8, 8) if isinstance(model, nn.Conv2d) else (2, 6, 20)
    with pytest.raises(InputError, match=r"holds int64 of shape .*multiplies it by torch.float32 weights \[RS218\]"):
        from_python(source(model), torch.ones(shape, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_of_another_dtype_are_cast(dtype: torch.dtype) -> None:
    (batch,) = from_python(source(mlp()), torch.randn(6, 20).to(dtype), InputOptions()).batches
    assert batch.args[0].dtype == torch.float32
