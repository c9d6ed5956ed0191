"""Specs of architectures: what is read, and what is refused before anything is built."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankscope.errors import UsageError
from rankscope.zoo import build
from rankscope.zoo._spec import FLOATS, check_kind, parse, split, words

KINDS = {
    "depth": int,
    "ratio": float,
    "mlp": bool,
    "norm": Literal["pre", "post"],
    "lam": FLOATS,
    "mix": FLOATS | Literal["learned", "paper"],
}
SMALL = "lambda_skip,depth=2,width=8,heads=2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("depth=3", {"depth": 3}),
        (" depth = 3 , norm=post", {"depth": 3, "norm": "post"}),
        ("ratio=2.5", {"ratio": 2.5}),
        ("ratio=2", {"ratio": 2.0}),
        ("lam=4", {"lam": (4.0,)}),
        ("mix=4", {"mix": (4.0,)}),
        ("mix=1,2,depth=3", {"mix": (1.0, 2.0), "depth": 3}),
        ("mix=paper", {"mix": "paper"}),
        ("lam=1,-2,4e1,depth=3", {"lam": (1.0, -2.0, 40.0), "depth": 3}),
        *((f"mlp={text}", {"mlp": True}) for text in ("true", "on", "1", "True", "ON")),
        *((f"mlp={text}", {"mlp": False}) for text in ("false", "off", "0", "False", "Off")),
    ],
)
def test_values_are_read_by_the_kind_of_the_option(text: str, expected: dict[str, object]) -> None:
    name, items = split(f"net,{text}")
    values = parse(items, KINDS)
    assert (name, values) == ("net", expected)
    assert {key: type(value) for key, value in values.items()} == {key: type(v) for key, v in expected.items()}


def test_a_bare_name_has_no_options() -> None:
    assert split(" transformer ") == ("transformer", {})


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.integers(1, 10**6))
def test_lists_survive_between_other_options(lam: list[float], depth: int) -> None:
    _, items = split(f"net,lam={','.join(map(repr, lam))},depth={depth},mlp=off")
    assert parse(items, KINDS) == {"lam": tuple(lam), "depth": depth, "mlp": False}


@pytest.mark.parametrize("text", ["lerned", "", "inf"])
def test_what_is_neither_a_word_nor_a_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"option mix is '.*', expected a finite number or learned or paper") as caught:
        parse({"mix": text.split(",")}, KINDS)
    assert caught.value.code == "RS351"
    assert "mix=8,16,32" in str(caught.value)


@pytest.mark.parametrize("text", ["learned,1", "1,learned", "learned,paper"])
def test_a_word_among_numbers_is_said_to_stand_alone(text: str) -> None:
    with pytest.raises(UsageError, match="stands alone, in the place of all numbers") as caught:
        parse({"mix": text.split(",")}, KINDS, "net")
    assert caught.value.code == "RS351"
    assert "rankscope zoo net" in str(caught.value)


@pytest.mark.parametrize(("heads", "near"), [(3, "heads=2 or heads=4"), (7, "heads=4 or heads=8"), (0, "heads=1 or")])
def test_heads_that_do_not_fit_have_the_nearest_that_do(heads: int, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(f"transformer,width=64,heads={heads}")
    assert near in str(caught.value)
    assert "rankscope zoo transformer" in str(caught.value)


@pytest.mark.parametrize(
    "kind", [FLOATS | int, int | Literal["learned"], FLOATS | Literal["a"] | int, str, list[float]]
)
def test_other_kinds_are_refused_when_they_are_declared(kind: object) -> None:
    assert words(kind) == ()
    with pytest.raises(TypeError, match="an option is int"):
        check_kind(kind)


@pytest.mark.parametrize(
    ("spec", "code", "says"),
    [
        ("transfomer", "RS101", r"unknown architecture 'transfomer'[\s\S]*did you mean  transformer"),
        ("", "RS101", r"unknown architecture ''[\s\S]*transformer"),
        (
            "transformer,dept=3",
            "RS101",
            r"unknown option 'dept'[\s\S]*did you mean  depth[\s\S]*known  causal, .*width",
        ),
        (
            "transformer,norm=prae",
            "RS101",
            r"value of norm: 'prae'[\s\S]*did you mean  pre[\s\S]*known  none, post, pre",
        ),
        ("transformer,norm=pre,post", "RS101", "value of norm: 'pre,post'"),
        ("transformer,mlp=maybe", "RS101", r"value of mlp: 'maybe'[\s\S]*false, off, on, true"),
        ("transformer,mlp=", "RS101", "value of mlp: ''"),
        ("transformer,12", "RS350", r"'12' is not option=value[\s\S]*form: NAME,option=value"),
        ("transformer,", "RS350", "'' is not option=value"),
        ("lambda_skip,lam=1,,2", "RS350", "'' is not option=value"),
        ("transformer,=3", "RS350", "'=3' is not option=value"),
        ("transformer,depth=2,depth=3", "RS350", "'depth' is given twice"),
        ("transformer,depth=two", "RS351", "option depth is 'two', expected a whole number"),
        ("transformer,depth=2.5", "RS351", "option depth is '2.5', expected a whole number"),
        ("transformer,depth=2,3", "RS351", "option depth is '2,3', expected a whole number"),
        ("transformer,depth=", "RS351", "option depth is '', expected a whole number"),
        ("transformer,ratio=wide", "RS351", "option ratio is 'wide', expected a finite number"),
        ("transformer,ratio=inf", "RS351", "option ratio is 'inf', expected a finite number"),
        ("lambda_skip,lam=1,nan", "RS351", "option lam is 'nan', expected a finite number or learned"),
        ("transformer,seed=-1", "RS352", "seed is -1, expected 0 to 2"),
        ("transformer,depth=0", "RS352", "depth is 0, expected at least 1"),
        ("transformer,width=-4", "RS352", "width is -4, expected at least 1"),
        ("transformer,heads=0", "RS352", "heads is 0, expected at least 1"),
        ("transformer,vocab=0", "RS352", "vocab is 0, expected at least 1"),
        ("transformer,head=classifier,classes=0", "RS352", "classes is 0, expected at least 1"),
        ("transformer,width=64,heads=3", "RS352", "width is 64, expected a multiple of heads, 3"),
        ("transformer,ratio=0", "RS352", "ratio is 0, expected at least 1/width"),
        ("lambda_skip,lam=1,2,depth=3", "RS352", "lam has 2 values, expected 1, or one for each of the 3 blocks"),
        ("lambda_skip,lam=1,2,depth=1", "RS352", r"lam has 2 values, expected 1 \[RS352"),
        ("lambda_skip,mixer=s4d,state=5", "RS352", "state is 5, expected an even number"),
        ("lambda_skip,mixer=mamba,causal=off", "RS352", "causal is off, and mixer=mamba sees no token to come"),
        ("s4d,state=5", "RS352", "state is 5, expected an even number"),
        ("mamba2,width=64,heads=3", "RS352", "width is 64, expected a multiple of heads, 3"),
    ],
)
def test_bad_specs_are_usage_errors(spec: str, code: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        build(spec)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)


@pytest.mark.parametrize("wrong", ["heads=3", "depth=0", "lam=1,2,3", "state=0"])
def test_impossible_sizes_are_refused_before_anything_is_built(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was built")

    monkeypatch.setattr("torch.nn.Module.__init__", never)
    with pytest.raises(AssertionError, match="was built"):
        build(SMALL)
    key = wrong.partition("=")[0]
    rest = ",".join(item for item in SMALL.split(",") if not item.startswith(key))
    with pytest.raises(UsageError, match=key):
        build(f"{rest},{wrong}")
