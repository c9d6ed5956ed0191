from __future__ import annotations

import pytest
from torch import nn

import rankscope
from rankscope.errors import UsageError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (nn.Linear, r"(?s)got the class Linear \[RS343\].*rankscope.probe\(Linear\(\)\)"),
        (nn.Linear(2, 2).state_dict(), r"(?s)got a dict of 2 entries \[RS343\].*load_state_dict"),
        (3, r"got 3 \[RS343\]"),
    ],
)
def test_what_is_no_model_is_told_with_the_step_to_one(given: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rankscope.probe(given)
