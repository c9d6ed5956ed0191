"""Explanations: what a measure, a code or a word of a report means, its usual cause, and what to do. No torch."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.declarations import constant, declarations
from rankscope.edits import known_edits, options_of
from rankscope.errors import UsageError, catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rankscope.declarations import Declaration

_REGISTRY, _REQUESTS = "measures/_registry.py", "measures/_requests.py"
_PLACES = {
    "block": "the input of the first block and the output of every block",
    "value": "the values that enter attention",
    "attention": "the attention map",
    "gradient": "the gradient of the loss with respect to the output of a block",
    "weight_gradient": "the gradient of the loss with respect to a weight",
}
_OVER_A_BLOCK = "the output of every block, beside that of the one before"
_PER_HEAD = {"value", "attention"}
_NEAR = 0.7  # under it another word is no slip of the fingers: nonsense is not none


@dataclass(frozen=True, slots=True)
class Explanation:
    """What can be said of one name: sections are pairs (label, text), and `related` are further names."""

    name: str
    kind: str
    title: str
    sections: tuple[tuple[str, str], ...]
    related: tuple[str, ...] = ()


def explain(name: str) -> Explanation:
    """Say what a name in a report or an error means; the twin of ``rankscope explain``.

    Args:
        name: a measure, also with its form (``mu_bar_unit``) or scope (``pooled:effective_rank``), a code (``RS301``),
            a preset, an edit (``lambda_skip``), a verdict, a kind of decay, a status, another word of a report
            (``floor``), or a heading of a table (``C_M``).

    Returns:
        The explanation.

    Raises:
        UsageError: nothing of that name is known.

    Example:
        >>> explain("mu_bar").title
        'How far tokens are from all being equal, over their size.'
    """
    asked = name.strip()
    code = asked.upper().strip("[]")
    if code in catalogue():
        return _code(code)
    if (word := _also().get(asked, asked)) in _words():
        return _word(word)
    if asked in presets():
        return _preset(asked)
    if asked in known_edits():
        return _edit(asked)
    if asked in measure_names():
        return _measure(asked)
    near = difflib.get_close_matches(asked, topics(), cutoff=_NEAR) or difflib.get_close_matches(
        asked.lower(), topics(), cutoff=_NEAR
    )
    details = [("did you mean", ", ".join(near))] if near else []
    step = ("All that can be asked", "rankscope explain")
    raise UsageError("RS101", f"nothing is known of {asked[:80]!r}", details=details, remedies=[step])


def topics() -> dict[str, str]:
    """Everything that can be asked, in one line each.

    Returns:
        Name to line: measures, presets, words, codes.
    """
    words = {name: entry["title"] for name, entry in _words().items()}
    codes = {code: entry.title for code, entry in catalogue().items()}
    return {**measure_names(), **presets(), **edit_names(), **words, **codes}


def edit_names() -> dict[str, str]:
    """Every edit that is not also a word of a report.

    Returns:
        Name to the edit's one line.
    """
    return {name: entry.summary for name, entry in known_edits().items() if name not in _words()}


@cache
def measure_names() -> dict[str, str]:
    """Every measure in every form and scope.

    Returns:
        Name to the measure's one line.
    """
    found: dict[str, str] = {}
    for name, entry in _declared().items():
        forms = [name if form == "raw" else f"{name}_{form}" for form in _forms(entry)]
        found |= dict.fromkeys(forms, entry.summary)
        found |= {f"pooled:{form}": f"{entry.summary} All sequences as one." for form in forms if _pooled(entry)}
        found |= {f"head:{form}": f"{entry.summary} Head by head." for form in forms if _site(entry) in _PER_HEAD}
    return found


def presets() -> dict[str, str]:
    """Names that stand for several measures.

    Returns:
        Name to one line.
    """
    return {
        name: "every measure in every form" if names == ("*",) else f"{len(_with_companions(names))} measures"
        for name, names in constant(_REQUESTS, "PRESETS").items()
    }


def _with_companions(names: Iterable[str]) -> tuple[str, ...]:
    """Names, each followed by those always shown with it, as a table has them."""
    found: dict[str, None] = {}
    for name in names:
        base = _of(name)
        kin = _declared()[base].keywords.get("companions", ())
        found |= dict.fromkeys(name.replace(base, each, 1) for each in (base, *kin))
    return tuple(found)


def codes() -> dict[str, str]:
    """The groups of codes by what they begin with.

    Returns:
        Such as ``RS3`` to what its codes are about.
    """
    return {f"RS{digit}": title for digit, title in _texts()["codes"].items()}


def _declared() -> Mapping[str, Declaration]:
    return declarations("measures", "measure")


def _forms(entry: Declaration) -> tuple[str, ...]:
    return tuple(entry.keywords.get("forms", ("raw",)))


def _site(entry: Declaration) -> str:
    return str(constant(_REGISTRY, "SITES")[next(iter(entry.parameters))])


def _pooled(entry: Declaration) -> bool:
    return bool(entry.keywords.get("pooled")) or "spectrum" in entry.parameters


@cache
def _texts() -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def _words() -> dict[str, dict[str, Any]]:
    return _texts()["words"]


@cache
def _also() -> dict[str, str]:
    """Headings and symbols of tables, each with the word that explains it."""
    return {other: name for name, entry in _words().items() for other in entry.get("also", ())}


def _code(code: str) -> Explanation:
    entry = catalogue()[code]
    sections = (("causes", entry.cause), ("what to do", entry.remedy))
    return Explanation(code, "code", entry.title, sections)


def _word(name: str) -> Explanation:
    entry = _words()[name]
    sections: tuple[tuple[str, str], ...] = (
        ("meaning", entry["meaning"]),
        ("causes", entry["cause"]),
        ("what to do", entry["remedy"]),
    )
    if name in known_edits():
        sections += tuple((f"the edit: {label}", text) for label, text in _edit(name).sections)
    return Explanation(name, entry["kind"], entry["title"], sections, tuple(entry["related"]))


def _preset(name: str) -> Explanation:
    names = constant(_REQUESTS, "PRESETS")[name]
    apart = [measure for measure, entry in _declared().items() if not entry.keywords.get("in_full", True)]
    held = (
        f"every measure in every form, and pooled; {', '.join(apart)} and heads are had by name alone"
        if names == ("*",)
        else ", ".join(_with_companions(names))
    )
    related = tuple(other for other in presets() if other != name)
    return Explanation(name, "preset", f"measures that --measures {name} takes", (("holds", held),), related)


def _edit(name: str) -> Explanation:
    entry = known_edits()[name]
    meaning = " ".join(entry.description.partition("\n\n")[2].replace("`", "").split())
    options = options_of(entry)
    sections = [("typed", f"MODEL+{name}" + (f"={','.join(map(str.upper, options))}" if options else "") + "[@LAYERS]")]
    sections += [("formula", entry.keywords["formula"])]
    sections += [("meaning", meaning)] if meaning else []
    sections += [(option, entry.meanings.get(option, "")) for option in options]
    sections += [("from", entry.keywords["paper"])] if entry.keywords.get("paper") else []
    return Explanation(name, "edit", entry.summary, tuple(sections), tuple(o for o in known_edits() if o != name))


def _measure(asked: str) -> Explanation:
    scope, _, form = asked.rpartition(":")
    name = _of(form)
    entry = _declared()[name]
    suffix = form.removeprefix(name).removeprefix("_")
    words, site = entry.keywords, _site(entry)
    meaning = " ".join(entry.description.partition("\n\n")[2].replace("`", "").split()) or entry.summary
    texts = _texts()["of"].get(name) or _texts()["at"][site]
    sections = [("formula", words["formula"]), ("range", _range(words.get("bounds", (None, None))))]
    sections += [("rich end", f"the {words['healthy']} end")] if words.get("healthy") else []
    sections += [("taken on", _OVER_A_BLOCK if "previous" in entry.parameters else _PLACES[site]), ("meaning", meaning)]
    sections += [(f"_{suffix}", _words()[suffix]["meaning"])] if suffix else []
    sections += [(f"{scope}:", _words()[scope]["meaning"])] if scope else []
    sections += [("causes", texts["cause"]), ("what to do", texts["remedy"])]
    sections += [("undefined", words["undefined"]), ("from", words["paper"])]
    return Explanation(asked, "measure", entry.summary, tuple(sections), _related(asked, name, entry))


def _of(form: str) -> str:
    """The measure that a name without prefix is a form of."""
    return next(
        name
        for name, entry in _declared().items()
        if form in {name if each == "raw" else f"{name}_{each}" for each in _forms(entry)}
    )


def _range(bounds: tuple[Any, Any]) -> str:
    low, high = (f"{bound:g}" if isinstance(bound, float) else bound for bound in bounds)
    return f"{low} to {high}" if high is not None else f"{low} and above" if low is not None else "any number"


def _related(asked: str, name: str, entry: Declaration) -> tuple[str, ...]:
    """The other forms and scopes, then what is always shown with it."""
    every = [other for other in measure_names() if other.rpartition(":")[2].startswith(name)]
    own = {name if form == "raw" else f"{name}_{form}" for form in _forms(entry)}
    kin = [other for other in every if other.rpartition(":")[2] in own and other != asked]
    return (*kin, *entry.keywords.get("companions", ()))
