from __future__ import annotations

import typing

import pytest

from rankscope.depth import Limits
from rankscope.edits import known_edits, options_of
from rankscope.errors import UsageError, catalogue
from rankscope.explanations import _texts, codes, explain, measure_names, presets, topics
from rankscope.measures import MEASURES, PRESETS, resolve
from rankscope.measures._registry import SITES
from rankscope.measures._requests import _known
from rankscope.records import Status


def test_every_name_of_a_measure_is_known_and_no_other() -> None:
    assert set(measure_names()) == set(_known())
    assert set(presets()) == set(PRESETS)


@pytest.mark.parametrize("name", sorted(topics()))
def test_everything_has_a_cause_and_a_next_step(name: str) -> None:
    found = explain(name)
    assert found.name == name
    assert found.title
    if found.kind not in {"preset", "edit"}:
        assert {"causes", "what to do"} <= {label for label, _ in found.sections}
    assert all(text and text == text.strip() for _, text in found.sections)
    assert all(other in topics() for other in found.related)
    assert name not in found.related


def test_a_measure_is_explained_by_its_own_file() -> None:
    found = dict(explain("participation_ratio").sections)
    assert found["formula"] == MEASURES["participation_ratio"].formula
    assert found["from"] == MEASURES["participation_ratio"].paper
    assert "_unit" in dict(explain("pooled:participation_ratio_unit").sections)
    assert "pooled:" in dict(explain("pooled:participation_ratio_unit").sections)
    assert "numerical_rank" in explain("condition_number").related


def test_a_code_may_be_typed_as_it_is_shown() -> None:
    assert explain("[rs301]") == explain("RS301")
    assert explain("RS301").title == catalogue()["RS301"].title
    assert {code[:3] for code in catalogue()} == set(codes())


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="mu_bar") as caught:
        explain("mu_baar")
    assert caught.value.code == "RS101"
    with pytest.raises(UsageError):
        explain("x" * 10_000)


def test_the_words_are_those_that_reports_use() -> None:
    words = _texts()["words"]
    assert set(typing.get_args(Status)) <= set(words)
    assert {"healthy", "thinning", "collapsed", "undefined"} <= set(words)
    assert {"growing", "none", "exponential", "doubly_exponential"} <= set(words)
    assert f"{Limits().collapsed:g}" in words["collapsed"]["meaning"]
    assert f"{Limits().thinning:g}" in words["thinning"]["meaning"]
    assert f"{Limits().thinning:g}" in words["healthy"]["meaning"]


def test_the_texts_belong_to_what_there_is() -> None:
    assert set(_texts()["at"]) == set(SITES.values())
    assert set(_texts()["of"]) <= set(MEASURES.names())
    assert all(resolve([name]) for name in presets())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_holds_what_a_table_of_it_shows(name: str) -> None:
    held = dict(explain(name).sections)["holds"]
    if PRESETS[name] != ("*",):
        assert held.split(", ") == [request.name for request in resolve([name])]
        assert presets()[name] == f"{len(resolve([name]))} measures"
        return
    apart = [measure.name for measure in MEASURES.values() if not measure.in_full]
    assert f"; {', '.join(apart)} and heads are had by name alone" in held


def test_the_columns_of_a_report_are_explained() -> None:
    fields = {"verdict", "status", "ceiling", "reference", "floor", "rate", "exponent", "r2"}
    assert all(explain(name).kind == "field" for name in fields)


def test_the_words_of_comparisons_and_checks_are_explained() -> None:
    from rankscope.comparison.records import Outcome

    assert set(typing.get_args(Outcome)) | {"baseline", "max-drop"} <= set(topics())
    with pytest.raises(UsageError, match="did you mean  mu_bar"):
        explain("MU_BAR")


def test_another_word_is_no_slip() -> None:
    with pytest.raises(UsageError) as caught:
        explain("nonsense")
    assert caught.value.details == ()


def test_every_word_of_a_certificate_is_explained() -> None:
    from rankscope.certificate import records
    from rankscope.certificate.words import NAMES
    from rankscope.renderers._certificate import _COLUMNS

    headings, fields = ({column[i] for column in _COLUMNS} for i in (0, 1))
    for word in {*headings, *fields, *NAMES, *NAMES.values(), *typing.get_args(records.Status)}:
        assert explain(word).sections
    assert explain("C_M").name == explain("Theorem 4.1").name == "theorem"


def test_another_name_of_a_word_stands_for_one_alone() -> None:
    entries = _texts()["words"]
    also = [other for entry in entries.values() for other in entry.get("also", ())]
    assert len(also) == len(set(also))
    assert not set(also) & set(topics())


def test_every_edit_is_explained() -> None:
    for name, declared in known_edits().items():
        assert name in topics()
        sections = dict(explain(name).sections)
        assert declared.keywords["formula"] in {*sections.values()}
        assert {label.removeprefix("the edit: ") for label in sections} >= {"typed", "formula", *options_of(declared)}
    assert explain("lambda_skip").kind == "edit"
    assert explain("noise").kind != "edit"  # a word of comparisons too
