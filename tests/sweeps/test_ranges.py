from __future__ import annotations

import pytest

from rankscope.errors import UsageError
from rankscope.sweeps.ranges import MOST, values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-20:20:9", (-20.0, -15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0)),
        ("0:1:11", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        ("1:0:3", (1.0, 0.5, 0.0)),
        ("3:3:1", (3.0,)),
        ("0:3", (0.0, 1.0, 2.0, 3.0)),
        ("3:1", (3.0, 2.0, 1.0)),
        ("1e-2:1e+2:2", (0.01, 100.0)),
        ("1, 2,4", (1.0, 2.0, 4.0)),
        ("2,2", (2.0,)),
        ("pre,post", ("pre", "post")),
        ("-0", (0.0,)),
    ],
)
def test_values(text: str, expected: tuple[float | str, ...]) -> None:
    assert values(text, "x") == expected


def test_whole_numbers_are_rounded_and_taken_once() -> None:
    assert values("2:24:4", "depth", whole=True) == (2.0, 9.0, 17.0, 24.0)
    assert values("1:2:5", "depth", whole=True) == (1.0, 2.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "1,,2",
        "1:2:0",
        "1:2:-3",
        "1:2:1",
        "1:2:1.5",
        "1:2:3:4",
        "a:b:3",
        "nan",
        "1,nan",
        "inf,1",
        "nan:1:3",
        "-1e308:1e308:3",
        "1:1e999:3",
        "0.5:2",
        ":",
        "1:",
        f"0:{MOST}",
        "0:1:10001",
        "0:1:9999999999999",
        "1:٣:3",
    ],
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"lambda_skip=.*nothing that can be swept") as caught:
        values(text, "lambda_skip")
    assert caught.value.code == "RS470"
    assert any("-20:20:9" in step for _, step in caught.value.remedies)
