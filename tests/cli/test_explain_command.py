from __future__ import annotations

import json

import pytest

from rankscope.cli import main
from rankscope.errors import catalogue
from rankscope.explanations import explain, topics
from rankscope.renderers import Style
from rankscope.renderers._explanation import render_explanation, render_topics, render_zoo
from rankscope.zoo import list_zoo

ASCII = Style(columns=80, unicode=False)


def test_a_measure_a_code_and_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in {
        "mu_bar_unit": "mu / ‖Y‖_F",
        "RS301": "asks to import code",
        "collapsed": "λ > 1",
        "quick": "value_cosine",
    }.items():
        assert main(["explain", name]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert out.startswith(f"{name} (")
        assert words in out
        assert all(len(line) <= 80 for line in out.splitlines())


def test_without_a_name_all_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    out = capsys.readouterr().out
    for word in ("effective_rank", "doubly_exponential", "quick", "RS3 "):
        assert f"  {word}" in out
    assert main(["explain", "RS3"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:] if line.startswith("  RS")] == [
        code for code in catalogue() if code.startswith("RS3")
    ]


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "mu", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "measure"
    assert main(["explain", "--format", "json"]) == 0
    assert "RS301" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["mu_baar", "RS999", "collapse", "\x1b[31m"])
def test_an_unknown_name(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["explain", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "[RS101]" in err
    assert "\x1b" not in err
    assert "rankscope explain" in err


def test_an_ascii_screen_and_a_wide_one() -> None:
    for name in topics():
        assert render_explanation(explain(name), Style(columns=80, unicode=False)).isascii(), name
    for text in (render_topics({"all": topics()}, Style(unicode=False)), render_zoo(list_zoo(), ASCII, details=True)):
        assert text.isascii()
    assert max(len(line) for line in render_explanation(explain("mu_bar"), Style(columns=300)).splitlines()) <= 100
