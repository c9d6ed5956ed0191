from __future__ import annotations

import pytest
import torch

from rankscope.inputs import Fingerprint
from rankscope.records import Batch

X = torch.arange(6).reshape(2, 3)


def digest(*batches: Batch) -> str:
    fingerprint = Fingerprint()
    for batch in batches:
        fingerprint.update(batch)
    return fingerprint.hexdigest()


def test_equal_inputs_have_equal_fingerprints() -> None:
    strided = torch.arange(12).reshape(2, 6)[:, :6:2] // 2  # other strides, other values: 0 1 2 3 4 5
    assert torch.equal(strided, X)
    assert digest(Batch((X,))) == digest(Batch((strided,))) == digest(Batch((X.clone(),)))


def test_the_order_of_keyword_arguments_does_not_count() -> None:
    assert digest(Batch((), {"a": X, "b": 1})) == digest(Batch((), {"b": 1, "a": X}))


@pytest.mark.parametrize(
    "other",
    [
        Batch((X + 1,)),
        Batch((X.float(),)),
        Batch((X.reshape(3, 2),)),
        Batch((X.int(),)),
        Batch((), {"x": X}),
        Batch((X, None)),
        Batch((X,), {"causal": True}),
        Batch((X,), {"causal": False}),
        Batch(([X],)),
        Batch((X,), {}, {"mask": torch.tensor([[True, True, False]] * 2)}),
        Batch((X[:1],)),
    ],
)
def test_other_inputs_have_another_fingerprint(other: Batch) -> None:
    assert digest(other) != digest(Batch((X,)))


def test_batches_and_their_order_count() -> None:
    one, two = Batch((X,)), Batch((X + 1,))
    assert len({digest(one, two), digest(two, one), digest(one), digest(one, two, two)}) == 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.complex64])
def test_every_dtype(dtype: torch.dtype) -> None:
    x = torch.tensor([[1.0, 0.0]]).to(dtype)
    assert digest(Batch((x,))) == digest(Batch((x.clone(),))) != digest(Batch((x.flip(1),)))


def test_empty_and_scalar_tensors() -> None:
    assert digest(Batch((torch.empty(0, 3),))) != digest(Batch((torch.tensor(3.0),)))


def test_an_object_counts_by_its_type_not_its_address() -> None:
    assert digest(Batch((object(),))) == digest(Batch((object(),)))


def test_no_boundary_can_be_moved() -> None:
    a, b = torch.tensor([1, 2], dtype=torch.uint8), torch.tensor([3], dtype=torch.uint8)
    c, d = torch.tensor([1], dtype=torch.uint8), torch.tensor([2, 3], dtype=torch.uint8)
    assert digest(Batch((a, b))) != digest(Batch((c, d)))
