"""What a block says of its own λ, and what is no such thing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from rankscope.capture.learned import lambdas


class Saying(nn.Module):
    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given

    def lambdas(self) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


def test_tensors_become_numbers() -> None:
    learned = nn.Parameter(torch.tensor(0.5, dtype=torch.bfloat16))
    block = Saying({"lambda_1": learned, "mix": torch.tensor([[1.0], [2.0]]), "plain": 3})
    assert lambdas(block) == {"lambda_1": 0.5, "mix[0]": 1.0, "mix[1]": 2.0, "plain": 3.0}


def test_a_module_inside_is_asked_and_names_do_not_collide() -> None:
    block = nn.Sequential(Saying({"lambda": torch.tensor(1.0)}), Saying({"lambda": torch.tensor(2.0)}))
    assert lambdas(block) == {"lambda": 1.0, "1.lambda": 2.0}
    outer = Saying({"lambda": torch.tensor(3.0)})
    outer.inner = Saying({"lambda": torch.tensor(4.0)})
    assert lambdas(outer) == {"lambda": 3.0}


@pytest.mark.parametrize(
    "given",
    [
        None,
        [1.0],
        {"lambda": "text"},
        {"lambda": torch.tensor(math.nan)},
        {"lambda": torch.zeros(500)},
        ValueError("mine"),
    ],
)
def test_what_is_no_such_answer_is_none(given: Any) -> None:
    assert lambdas(Saying(given)) == {}


def test_most_blocks_say_nothing() -> None:
    block = nn.Linear(2, 2)
    block.lambdas = 4.0
    assert lambdas(block) == {}


def test_names_are_made_safe() -> None:
    assert list(lambdas(Saying({"a\x1b[31m": torch.tensor(1.0)}))) == ["a\N{REPLACEMENT CHARACTER}[31m"]
