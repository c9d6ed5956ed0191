from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from rankscope.errors import UsageError
from rankscope.sweeps.axes import template
from rankscope.sweeps.spots import asked

ZOO = "zoo:transformer,width=16,heads=2"


def edits(*texts: str) -> list[str]:
    return [spot.edits for spot in asked(["m.pt"], texts).spots()]


def test_a_range_of_an_edit() -> None:
    assert edits("lambda_skip=1:3:3") == ["lambda_skip=1", "lambda_skip=2", "lambda_skip=3"]
    assert edits("lambda_skip=0,0.5@2..3+no_skip@1") == [
        "lambda_skip=0@2..3+no_skip@1",
        "lambda_skip=0.5@2..3+no_skip@1",
    ]
    assert edits("lambda_skip=1e+3:2e+3:2") == ["lambda_skip=1000", "lambda_skip=2000"]


def test_an_argument_by_its_name() -> None:
    assert edits("lambda_skip=lam=1:2:2") == ["lambda_skip=lam=1", "lambda_skip=lam=2"]


def test_two_edits_make_the_product() -> None:
    wanted = asked(["m.pt"], ["lambda_skip=1,2", "no_skip@2..3"]).over_layers([(1, "a"), (2, "b"), (3, "c")])
    assert [spot.edits for spot in wanted.spots()] == [
        f"lambda_skip={value}+no_skip@{layer}" for value in (1, 2) for layer in (2, 3)
    ]
    with pytest.raises(UsageError, match="swept twice"):
        asked(["m.pt"], ["lambda_skip=1,2", "lambda_skip=3,4@1"])
    apart = asked(["m.pt"], ["lambda_skip=1,2@1+lambda_skip=3,4@2"])
    assert [axis.name for axis in apart.axes] == ["lambda_skip", "lambda_skip.2"]
    assert apart.spots()[1].edits == "lambda_skip=1@1+lambda_skip=4@2"


def test_an_edit_without_a_range_goes_over_its_layers() -> None:
    wanted = asked(["m.pt"], ["no_skip@2..4"])
    assert wanted.waits
    known = wanted.over_layers([(1, "h.0"), (2, "h.1"), (3, "h.2")])
    assert [(spot.edits, spot.label) for spot in known.spots()] == [
        ("no_skip@2", "no_skip@2"),
        ("no_skip@3", "no_skip@3"),
    ]
    globbed = asked(["m.pt"], ["lambda_skip=0@'h.*'"]).over_layers([(1, "h.0"), (2, "g.1")])
    assert [spot.edits for spot in globbed.spots()] == ["lambda_skip=0@1"]
    with pytest.raises(UsageError, match="names no layer"):
        asked(["m.pt"], ["no_skip@7..9"]).over_layers([(1, "h.0")])


def test_a_range_goes_before_the_layers() -> None:
    wanted = asked(["m.pt"], ["lambda_skip=1,2@*"])
    assert not wanted.waits
    assert [spot.edits for spot in wanted.spots()] == ["lambda_skip=1@*", "lambda_skip=2@*"]


def test_options_of_the_zoo_replace_those_of_the_model() -> None:
    spots = asked([f"{ZOO},depth=9"], [], ["depth=2:4:2", "norm=pre,post"]).spots()
    assert [spot.model for spot in spots][:2] == [
        f"{ZOO},depth=2,norm=pre",
        f"{ZOO},depth=2,norm=post",
    ]
    assert len(spots) == 4
    edited = asked([f"{ZOO}+no_skip"], [], {"depth": [2, 3]}).spots()
    assert [spot.model for spot in edited] == [f"{ZOO},depth=2+no_skip", f"{ZOO},depth=3+no_skip"]


def test_the_seed_of_a_factory_stands_beside_it() -> None:
    spots = asked(["net:make"], [], ["seed=0:1"]).spots()
    assert [(spot.model, spot.options) for spot in spots] == [("net:make", {"seed": 0.0}), ("net:make", {"seed": 1.0})]
    assert [spot.model for spot in asked([ZOO], [], ["seed=0:1"]).spots()] == [f"{ZOO},seed=0", f"{ZOO},seed=1"]


def test_models_are_named_without_the_absolute_part() -> None:
    wanted = asked([Path("/x/a/m.pt"), "/x/b/m.pt"])
    assert wanted.axes[0].values == ("a/m.pt", "b/m.pt")
    assert [spot.model for spot in wanted.spots()] == [Path("/x/a/m.pt"), "/x/b/m.pt"]
    assert asked([nn.ReLU(), nn.GELU()]).axes[0].values == ("ReLU", "GELU")


@pytest.mark.parametrize(
    ("models", "given", "options", "match"),
    [
        ([], [], [], "no model was named"),
        (["m.pt"], [], [], "nothing is swept"),
        (["m.pt", "m.pt"], [], [], "named twice"),
        (["m.pt"], ["no_skip"], [], "sweeps nothing"),
        (["m.pt"], ["lambda_skip=2"], [], "sweeps nothing"),
        (["m.pt"], ["no_skip@3"], [], "sweeps nothing"),
        (["m.pt"], ["lambda_skp=1:2:3"], [], "unknown edit 'lambda_skp'"),
        (["m.pt"], ["lambda_skip=1:2:3+no_skipp"], [], "unknown edit 'no_skipp'"),
        (["m.pt"], ["no_skip=1:2:3"], [], "one too many"),
        (["m.pt"], ["lambda_skip=a,b"], [], "expected finite numbers|finite number"),
        (["m.pt"], ["lambda_skip=1:2:3@0"], [], "layer 0"),
        (["m.pt"], [], ["depth=1:3"], "has no option depth"),
        ([ZOO], [], ["dept=1:3"], "unknown option 'dept'"),
        ([ZOO], [], ["depth"], "no NAME=VALUES"),
        ([ZOO], [], ["=1,2"], "no NAME=VALUES"),
        ([ZOO], [], ["norm=pre,pots"], "unknown value of norm"),
        ([ZOO], [], ["depth=2,3", "depth=4,5"], "swept twice"),
        ([ZOO], [], ["depth=1:200", "width=1:200"], "at most 10,000"),
    ],
)
def test_what_cannot_be_swept_is_refused(models: list[str], given: list[str], options: list[str], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        asked(models, given, options)


def test_an_unknown_edit_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="lambda_skip"):
        template("lamda_skip=1:2:3")


def test_values_of_every_layer_make_one_text() -> None:
    edit = template("lambda_skip=1:3:3+no_skip@4")
    assert edit.per_layer({1: 2.0, 3: 1.5}) == "lambda_skip=2@1+lambda_skip=1.5@3+no_skip@4"
