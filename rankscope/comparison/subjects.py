"""Subjects: saved reports and models, made into reports of the same inputs."""

from __future__ import annotations

import contextlib
import itertools
import string
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from rankscope.comparison.records import Subject
from rankscope.edits import split_model
from rankscope.errors import InputError, RankscopeError, UsageError
from rankscope.records import Report
from rankscope.saved import is_saved, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rankscope.records import Note

    Probe = Callable[[Sequence[tuple[int, Any]], Subject | None], Iterable[tuple[int, Report, float | None]]]
    Announce = Callable[[Iterable[Note]], None]


def letter(number: int) -> str:
    """The letter of a subject: from A to Z, then AA.

    Args:
        number: from 0 on.

    Returns:
        The letter.

    Example:
        >>> letter(0), letter(25), letter(26)
        ('A', 'Z', 'AA')
    """
    before, last = divmod(number, 26)
    return (letter(before - 1) if before else "") + string.ascii_uppercase[last]


@contextlib.contextmanager
def naming(number: int, model: object) -> Iterator[None]:
    """Name the model in an error on it.

    Args:
        number: of the model, from 0 on.
        model: what names it, or the module.

    Yields:
        Nothing.

    Raises:
        RankscopeError: what was raised inside.
    """
    try:
        yield
    except RankscopeError as error:
        spec = model if isinstance(model, str | Path) else type(model).__name__
        error.details = (*error.details, ("model", f"{letter(number)}, {spec}"))
        raise


def is_measured(model: object) -> bool:
    """Whether a subject is a report, or names a saved one.

    Args:
        model: as `compare` takes it.

    Returns:
        False for what is a model.
    """
    return isinstance(model, Report) or (isinstance(model, str | Path) and is_saved(model))


def gathered(given: Sequence[Any], probe: Probe) -> tuple[Subject, ...]:
    """Read the saved reports, measure the models, and make sure that all are of the same inputs.

    Args:
        given: reports, paths of saved reports, and whatever names a model.
        probe: measures models, given with their numbers, on the inputs of a report, if there is one; yields for
            each its number, its report and the seconds of a forward pass.

    Returns:
        The subjects in the order given.
    """
    found: dict[int, Subject] = {}
    models = []
    for i, each in enumerate(given):
        if isinstance(each, Report):
            found[i] = Subject(letter(i), str(each.model.get("spec", "report")), each)
        elif isinstance(each, str | Path) and is_saved(each):
            found[i] = Subject(letter(i), Path(each).name, load(each))
        else:
            _refuse_edited(each)
            models.append((i, each))
    check_inputs(list(found.values()))
    if models:
        saved = next(iter(found.values())) if found else None
        for i, report, seconds in probe(models, saved):
            found[i] = Subject(letter(i), str(report.model.get("spec", "model")), report, seconds)
    names = told_apart([found[i].name for i in sorted(found)], given)
    subjects = tuple(replace(found[i], name=name) for i, name in zip(sorted(found), names, strict=True))
    check_inputs(subjects)
    return subjects


def _refuse_edited(model: Any) -> None:
    """Refuse edits of a saved report, which holds no model that could run."""
    text, edits = split_model(model) if isinstance(model, str) else (model, ())
    if edits and is_saved(text):
        raise UsageError(
            "RS133",
            f"{model} was not measured: an edit needs a model that runs, and {text} is a saved report",
            remedies=[("Name the model of the report", f"rankscope compare {text} vs MODEL+{'+'.join(edits)}")],
        )


def told_apart(names: Sequence[str], given: Sequence[object]) -> list[str]:
    """Names that are equal with as much of the path before them as tells the files apart; never an absolute path.

    Args:
        names: of the subjects.
        given: what the user named them by.

    Returns:
        As many names. Those of the same file stay equal, and so do those of what is no path.

    Example:
        >>> told_apart(["r.json"] * 3, ["/x/a/1/r.json", "/x/b/1/r.json", "c/r.json"])
        ['a/…/r.json', 'b/…/r.json', 'c/r.json']
    """
    parts = [PurePath(each).parts if isinstance(each, str | Path) else () for each in given]
    parts = [tuple(part for part in each if part not in {"", ".", PurePath(each[0]).anchor}) for each in parts]
    found = []
    for name, own in zip(names, parts, strict=True):
        others = [each for other, each in zip(names, parts, strict=True) if other == name and each != own]
        size = max((_alike(own, each) for each in others), default=0)
        before = own[:-1][max(len(own) - size - 1, 0) :] if size else ()
        found.append("/".join([before[0], "…", name] if len(before) > 1 else [*before, name]))
    return found


def _alike(own: Sequence[str], other: Sequence[str]) -> int:
    """How many parts at the end of two paths are equal."""
    both = zip(reversed(own), reversed(other), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], both))


def check_inputs(subjects: Sequence[Subject]) -> None:
    """Refuse reports of other inputs than the first one's.

    Args:
        subjects: those compared.

    Raises:
        InputError: the fingerprints differ; the field and both sources are named.
    """
    for subject in subjects[1:]:
        first, other = subjects[0].report.inputs, subject.report.inputs
        if first.get("sha256") != other.get("sha256") or first.get("sha256") is None:
            error = other_inputs(f"{subjects[0].letter}, {subjects[0].name}", first, subject.name, other)
            raise error


def other_inputs(who: str, first: Any, name: str, other: Any) -> InputError:
    """The error for two that saw other inputs.

    Args:
        who: the letter and the name of the first.
        first: what its report says of its inputs.
        name: the other.
        other: what is known of its inputs.

    Returns:
        The error, to be raised by the caller.
    """
    return InputError(
        "RS621",
        f"{name} was not compared: it saw other inputs than {who}",
        details=[
            ("field", f"inputs.sha256: {_short(first)} and {_short(other)}"),
            ("first", str(first.get("source", "unknown"))),
            ("other", str(other.get("source", "unknown"))),
        ],
        remedies=[
            ("Measure both on the same", "rankscope compare MODEL vs MODEL --input FILE"),
            ("Or save a report of the same inputs", "rankscope probe MODEL --input FILE -o FILE.json"),
        ],
    )


def _short(inputs: Any) -> str:
    return str(inputs.get("sha256") or "none")[:12]
