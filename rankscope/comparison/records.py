"""What a comparison holds: frozen records, plain enough for every output format.

A `Comparison` holds the `Subject`s, of which the first is the reference, and a `Pair` for each of the others. A pair
holds the layers that stand beside each other (`Match`), one `Difference` for each measure at them, and where the two
`First` differ. Names of layers are as the models have them: untrusted text.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rankscope.depth import RESIDUAL
from rankscope.plain import finite
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from rankscope.records import Depth, Layer, Note, Report

SCHEMA = "rankscope.comparison/1"

Outcome = Literal["equal", "noise", "differs", "untested", "undefined"]
Alignment = Literal["name", "depth"]
Basis = Literal["exact", "noise", "numbers"]
Floor = Literal["reference", "other", "both"]
_SHOWN = 3  # models in a repr


@dataclass(frozen=True, slots=True)
class Subject:
    """One of those compared.

    `letter` is A for the reference, then B, C …; `name` what the user typed, without a path's absolute part;
    `forward_seconds` the median time of a plain forward pass of the first batch, None for a saved report, which does
    not record it.
    """

    letter: str
    name: str
    report: Report
    forward_seconds: float | None = None

    @property
    def parameters(self) -> int | None:
        """How many the model has."""
        return self.report.model.get("parameters")

    @property
    def verdicts(self) -> tuple[Depth, ...]:
        """The verdict of each stack."""
        return tuple(entry for entry in self.report.depth if entry.measure == RESIDUAL)


@dataclass(frozen=True, slots=True)
class Match:
    """A layer of the reference and the layer of the other that stands beside it."""

    reference: Layer
    other: Layer
    by: Alignment


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure at one layer of the reference, and at the layer beside it.

    `difference` is other − reference, `ratio` other / reference. `low` and `high` bound the difference at 99 %
    (bootstrap over the sequences), `p` is its chance under no difference, corrected for all tests of the pair.

    `outcome`: ``equal`` the numbers agree within their numerical error; ``differs`` beyond noise; ``noise`` not beyond
    it; ``untested`` they differ, and `reason` says why noise cannot be told; ``undefined`` one of them is missing.
    `at_floor` says which of the two is at or below its noise floor: there is no `ratio` then.
    """

    stack: str
    layer_index: int
    layer: str
    other_stack: str
    other_index: int
    other_layer: str
    site: str
    scope: str
    head: int | None
    parameter: str | None
    measure: str
    reference: float | None
    other: float | None
    difference: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    sequences: int = 0
    outcome: Outcome = "undefined"
    reason: str | None = None
    at_floor: Floor | None = None


@dataclass(frozen=True, slots=True)
class First:
    """The first layer at which two models differ: of one measure, or of all (`measure` and `site` of the clearest).

    `basis`: ``exact`` where every number of the layers before is equal, sequence by sequence, so that sampling has no
    part in it; ``noise`` where it lies beyond the noise over sequences; ``numbers`` where the numbers alone were asked.
    """

    measure: str
    site: str
    stack: str
    layer_index: int
    layer: str
    other_layer: str
    reference: float
    other: float
    p: float | None
    basis: Basis


@dataclass(frozen=True, slots=True)
class Missing:
    """From where on one of two models has no numbers.

    `model` is its letter. The layer is the first of the reference at which it lacks a number that the other has, or
    lacks all; `own_layer` is its own layer there. `measures` are those that it lacks at this layer, `every` whether it
    has none at all there, `onwards` whether the same holds at every layer that follows; `numbers` counts what it lacks
    at all layers, and `reason` is the most frequent one.
    """

    model: str
    stack: str
    layer_index: int
    layer: str
    own_layer: str
    measures: tuple[str, ...]
    every: bool
    onwards: bool
    numbers: int
    reason: str


@dataclass(frozen=True, slots=True)
class Pair:
    """The reference beside one other.

    `first` is the first layer that differs beyond noise in what the forward pass shows (gradients run backwards: one
    block changes those of every layer); `first_of` the first of each measure beyond the noise over sequences;
    `first_unequal` the first layer whose numbers are not equal, beyond noise or not. None: there is no such layer.
    `tests` counts the differences that were tested, and so what `p` is corrected for. `missing` says where one of the
    two has no numbers: numbers that are all equal mean nothing there.
    """

    reference: str
    other: str
    matches: tuple[Match, ...]
    unmatched_reference: tuple[Layer, ...]
    unmatched_other: tuple[Layer, ...]
    differences: tuple[Difference, ...]
    first: First | None
    first_of: tuple[First, ...]
    first_unequal: First | None
    sentence: str
    tests: int = 0
    missing: tuple[Missing, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Models side by side on the same inputs; the first of `subjects` is the reference of every pair."""

    subjects: tuple[Subject, ...]
    pairs: tuple[Pair, ...]
    sentence: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    created: str = ""
    rankscope: str = ""
    schema: str = SCHEMA

    @property
    def reports(self) -> tuple[Report, ...]:
        """The report of each subject."""
        return tuple(subject.report for subject in self.subjects)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data under its published schema; of each report its facts, verdicts and notes.

        Returns:
            Nested dicts, lists, strings and finite numbers.
        """
        plain: dict[str, Any] = finite(
            {
                "schema": self.schema,
                "rankscope": self.rankscope,
                "created": self.created,
                "sentence": self.sentence,
                "inputs": dict(self.inputs),
                "subjects": [_facts(subject) for subject in self.subjects],
                "pairs": [dataclasses.asdict(pair) for pair in self.pairs],
                "notes": [dataclasses.asdict(note) for note in self.notes],
            }
        )
        return plain

    def save(self, path: str | Path) -> None:
        """Write the comparison; the suffix chooses the format. The file appears whole or not at all.

        Args:
            path: a file such as ``side.json``, ``side.csv`` or ``side.md``.
        """
        from rankscope.renderers import COMPARISONS, save_all

        save_all(self, [Path(path)], of=COMPARISONS)

    def to_frame(self) -> pd.DataFrame:
        """The long table: a line for each measure at each pair of layers, with the letters of the two models.

        Returns:
            A DataFrame with the fields of `Difference` as columns.
        """
        import pandas as pd

        names = [f.name for f in dataclasses.fields(Difference)]
        lines = [
            [pair.reference, pair.other, *(getattr(entry, name) for name in names)]
            for pair in self.pairs
            for entry in pair.differences
        ]
        return pd.DataFrame(lines, columns=["reference_letter", "other_letter", *names])

    def _repr_html_(self) -> str:
        """The sentence, the models and the tables, for notebooks."""
        from rankscope.renderers.notebook import render_comparison

        return render_comparison(self)

    def __repr__(self) -> str:
        names = " vs ".join(repr(subject.name) for subject in self.subjects[:_SHOWN])
        more = f" and {len(self.subjects) - _SHOWN} more" if len(self.subjects) > _SHOWN else ""
        return f"<Comparison {names}{more}: {', '.join(map(_in_short, self.pairs[:_SHOWN]))}>"


def _in_short(pair: Pair) -> str:
    """One pair in a few words."""
    if pair.first is not None:
        return f"{pair.other} differs at {display_name(pair.first.layer)}"
    if pair.missing:
        gap = pair.missing[-1]
        return f"{gap.model} lacks numbers at {display_name(gap.layer)}"
    same = all(entry.outcome == "equal" for entry in pair.differences)
    alone = pair.unmatched_reference or pair.unmatched_other
    return f"{pair.other} {'equal' if same else 'within noise'}{' where layers match' if alone else ''}"


def _facts(subject: Subject) -> dict[str, Any]:
    """What the JSON says of a subject; its report is a file of its own."""
    report = subject.report
    return {
        "letter": subject.letter,
        "name": subject.name,
        "model": dict(report.model),
        "environment": dict(report.environment),
        "created": report.created,
        "parameters": subject.parameters,
        "forward_seconds": subject.forward_seconds,
        "depth": [dataclasses.asdict(entry) for entry in report.depth],
        "notes": [dataclasses.asdict(note) for note in report.notes],
    }
