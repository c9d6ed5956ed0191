"""MODEL+EDIT, taken apart and read without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from rankscope.edits import known_edits, read_edits, split_model
from rankscope.errors import RankscopeError, UsageError


@pytest.mark.parametrize(
    ("text", "model", "edits"),
    [
        ("model.pt", "model.pt", ()),
        ("model.pt+no_skip", "model.pt", ("no_skip",)),
        ("model.pt+lambda_skip=1.5@6..8+no_skip@'a+b'", "model.pt", ("lambda_skip=1.5@6..8", "no_skip@'a+b'")),
        ("model.pt+lambda_skip=1e+3+no_skip", "model.pt", ("lambda_skip=1e+3", "no_skip")),
        ("model.pt+lambda_skip=1e+3,-2", "model.pt", ("lambda_skip=1e+3,-2",)),
        ("c++/net.pt", "c++/net.pt", ()),
        ("c++/net.pt+no_skip", "c++/net.pt", ("no_skip",)),
        ("zoo:transformer,lam=1e+3", "zoo:transformer,lam=1e+3", ()),
        ("zoo:transformer,lam=1e+3+no_skip@2", "zoo:transformer,lam=1e+3", ("no_skip@2",)),
        ("net.py:make+lambda_skp=2", "net.py:make", ("lambda_skp=2",)),
        ("baseline+lambda_skp", "baseline", ("lambda_skp",)),
        ("mine+lambda_skp@3", "mine", ("lambda_skp@3",)),
        ("a+b", "a+b", ()),
        ("a+b.pt", "a+b.pt", ()),
        ("runs/1+2", "runs/1+2", ()),
    ],
)
def test_split(text, model, edits):
    assert split_model(text, aliases=("mine",)) == (model, edits)


def test_the_longest_path_that_exists_is_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("net.pt", "net.pt+no_skip", "c++", "a+no_skip=1.pt"):
        (tmp_path / name).write_text("")
    assert split_model("net.pt+no_skip") == ("net.pt+no_skip", ())
    assert split_model("net.pt+no_skip+lambda_skip=2") == ("net.pt+no_skip", ("lambda_skip=2",))
    assert split_model("net.pt+no_skp") == ("net.pt", ("no_skp",))
    assert split_model("c+++no_skip") == ("c++", ("no_skip",))
    assert split_model("a+no_skip=1.pt") == ("a+no_skip=1.pt", ())
    assert split_model(f"{tmp_path}/net.pt+lambda_skip=2") == (f"{tmp_path}/net.pt", ("lambda_skip=2",))


def test_arguments_in_order_by_name_and_as_a_list():
    (edit,) = read_edits("lambda_skip=1,2.50,-3e0@'h.*'")
    assert (edit.arguments, edit.where.glob) == ({"lam": (1.0, 2.5, -3.0)}, "h.*")
    assert read_edits("lambda_skip=lam=1,2")[0].arguments == {"lam": (1.0, 2.0)}
    assert str(read_edits("lambda_skip=1,2.50@3..5")[0]) == "lambda_skip=1,2.5@3..5"


@pytest.mark.parametrize(
    ("text", "code", "wrong"),
    [
        ("lambda_skp=2", "RS101", "unknown edit 'lambda_skp'"),
        ("", "RS101", "unknown edit ''"),
        ("no_skip+", "RS101", "unknown edit ''"),
        ("lambda_skip", "RS130", "lambda_skip needs lam: λ"),
        ("lambda_skip=", "RS130", "lam is '', expected a finite number"),
        ("lambda_skip=two", "RS130", "lam is 'two', expected a finite number"),
        ("lambda_skip=nan", "RS130", "lam is 'nan'"),
        ("lambda_skip=inf", "RS130", "lam is 'inf'"),
        ("lambda_skip=lam=1,lam=2", "RS130", "'lam' is given twice"),
        ("lambda_skip=lamb=1", "RS101", "unknown argument of lambda_skip: 'lamb'"),
        ("no_skip=1", "RS130", "takes no argument; '1' is one too many"),
        ("no_skip@", "RS117", "no layer is named after @"),
        ("no_skip@0", "RS131", "layer 0 is the input of the first block"),
        ("no_skip@0..3", "RS131", "layer 0"),
        ("no_skip@5..3", "RS117", "runs backwards"),
    ],
)
def test_what_cannot_be_read_is_refused(text, code, wrong):
    with pytest.raises(UsageError, match=wrong) as raised:
        read_edits(text)
    assert raised.value.code == code
    assert raised.value.exit_code == 2


def test_a_slip_is_answered_with_the_nearest_edit():
    with pytest.raises(RankscopeError) as raised:
        read_edits("lamda_skip=2")
    assert ("did you mean", "lambda_skip") in [(a, b.split(",")[0]) for a, b in raised.value.details]


def test_every_edit_says_what_it_does_and_what_its_arguments_mean():
    for name, declared in known_edits().items():
        first, *options = declared.parameters
        assert first == "scene", name
        assert declared.summary.endswith("."), name
        assert declared.keywords["formula"], name
        assert all(declared.meanings.get(option) for option in options), name
        kinds = {declared.parameters[option].kind for option in options}
        plain = {"Number", "Numbers", "int", "float", "bool"}
        assert all(kind in plain or kind.startswith("Literal[") for kind in kinds), name


def test_no_torch_is_loaded():
    code = "import sys; from rankscope.edits import read_edits, split_model\n"
    code += "split_model('m.pt+no_skip'); read_edits('lambda_skip=2'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_python_refuses_the_numbers_that_text_refuses() -> None:
    from rankscope.interventions import EDITS

    for wrong in ({"lam": float("nan")}, {"lam": [1.0, float("inf")]}):
        with pytest.raises(UsageError, match="expected a finite number") as raised:
            EDITS["lambda_skip"](**wrong)
        assert raised.value.code == "RS130"
    for make in (lambda: read_edits("noise=-1@2"), lambda: EDITS["noise"](sigma=-1.0)):
        with pytest.raises(UsageError, match="sigma is -1, expected 0 and above"):
            make()


def test_two_layers_are_two_edits() -> None:
    with pytest.raises(UsageError, match="a glob in quotes") as raised:
        read_edits("no_skip@1,3")
    assert raised.value.remedies == (("Several of them", "no_skip@1+no_skip@3"),)
    assert read_edits("no_skip@'a,b'")[0].where.glob == "a,b"


def test_a_space_or_nothing_beside_the_plus_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.touch()
    for model in (str(file), "zoo:transformer"):
        for typed, step in ((" +no_norm", "+no_norm"), ("+ no_norm", "+no_norm")):
            with pytest.raises(UsageError, match="a space stands beside") as raised:
                split_model(model + typed)
            assert raised.value.remedies == (("Write", model + step),)
        with pytest.raises(UsageError, match="no edit follows"):
            split_model(model + "+")
