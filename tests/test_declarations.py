from __future__ import annotations

import inspect

import pytest

from rankscope.declarations import constant, declarations
from rankscope.measures import MEASURES, PRESETS
from rankscope.measures._registry import SITES
from rankscope.zoo import ARCHITECTURES
from rankscope.zoo._listing import _kind


def test_the_declarations_of_measures_are_those_of_the_registry() -> None:
    found = declarations("measures", "measure")
    assert set(found) == set(MEASURES.names())
    for name, entry in found.items():
        known = MEASURES[name]
        assert entry.description == known.description, name
        assert entry.summary == known.summary
        assert tuple(entry.parameters) == known.needs
        literal = {key: value for key, value in entry.keywords.items() if not callable(getattr(known, key))}
        assert literal == {key: getattr(known, key) for key in literal}, name
        assert {"paper", "formula", "undefined", "bounds"} <= set(literal), name


def test_the_declarations_of_architectures_are_those_of_the_registry() -> None:
    found = declarations("zoo", "architecture")
    assert set(found) == set(ARCHITECTURES.names())
    for name, entry in found.items():
        known = ARCHITECTURES[name]
        assert (entry.keywords["paper"], entry.keywords["claim"]) == (known.paper, known.claim)
        assert {key: option.default for key, option in known.options.items()} == {
            key: parameter.default for key, parameter in entry.parameters.items()
        }
        assert {key: option.kind for key, option in known.options.items()} == {
            key: _kind(parameter.kind) for key, parameter in entry.parameters.items()
        }
        assert entry.docstring == inspect.getdoc(known.builder)
        assert set(entry.meanings) == set(known.options), "each option is described in the docstring"


def test_constants_are_read() -> None:
    assert constant("measures/_registry.py", "SITES") == SITES
    assert constant("measures/_requests.py", "PRESETS") == PRESETS
    with pytest.raises(KeyError):
        constant("measures/_registry.py", "NOTHING")
