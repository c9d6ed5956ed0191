"""Names of measures, as a user types them, and what they ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rankscope.measures._registry import MEASURES, Form, Measure
from rankscope.registry import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable

_FORWARD = (
    "mu",
    "mu_bar",
    "mu_bar_unit",
    "rank_one_residual_unit",
    "token_norm_ratio",
    "effective_rank",
    "effective_rank_unit",
    "stable_rank",
    "participation_ratio",
    "participation_ratio_centered",
    "value_cosine",
)
PRESETS: dict[str, tuple[str, ...]] = {
    "quick": (*_FORWARD, "grad_norm", "grad_condition"),
    "forward": _FORWARD,
    "full": ("*",),
}
"""Names that stand for several; `*` is every measure in every form and scope, but heads and what is named only."""


@dataclass(frozen=True, slots=True)
class Request:
    """One measure in one form and scope, of all heads together or of each."""

    measure: Measure
    form: Form = "raw"
    scope: Literal["sequence", "pooled"] = "sequence"
    per_head: bool = False

    @property
    def name(self) -> str:
        """The name of the measure with the suffix of its form, without a prefix."""
        return self.measure.name if self.form == "raw" else f"{self.measure.name}_{self.form}"

    @property
    def needs(self) -> tuple[str, ...]:
        """What `evaluate` has to be given: in the pooled scope a spectrum, else what the measure needs."""
        return ("spectrum",) if self.scope == "pooled" else self.measure.needs


def resolve(names: Iterable[str]) -> tuple[Request, ...]:
    """The requests that names ask for, each once, in order, companions following what they accompany.

    Args:
        names: presets (quick, forward, full) and measures: a name, the suffix `_centered`, `_unit` or
            `_unit_centered`, and the prefix `pooled:` for all sequences as one matrix or `head:` for each head.

    Returns:
        The requests.

    Raises:
        UsageError: an unknown name.

    Example:
        >>> [request.name for request in resolve(["mu_bar_unit", "condition_number"])]
        ['mu_bar_unit', 'condition_number', 'numerical_rank']
    """
    known = _known()
    found: dict[str, Request] = {}
    for typed in names:
        for name in _expand(typed, known):
            found |= _accompanied(name, known)
    return tuple(found.values())


def _known() -> dict[str, Request]:
    """Every measure in every form, then those that can be pooled and those that each head has, by name."""
    requests = [Request(measure, form) for measure in MEASURES.values() for form in measure.forms]
    pooled = [replace(request, scope="pooled") for request in requests if request.measure.pooled]
    heads = [replace(request, per_head=True) for request in requests if request.measure.per_head]
    prefixed = {f"pooled:{r.name}": r for r in pooled} | {f"head:{r.name}": r for r in heads}
    return {r.name: r for r in requests} | prefixed


def _expand(typed: str, known: dict[str, Request]) -> Iterable[str]:
    """The names that a preset or a name stands for."""
    if typed in PRESETS:
        every = [name for name, request in known.items() if request.measure.in_full and not request.per_head]
        return every if PRESETS[typed] == ("*",) else PRESETS[typed]
    if typed not in known:
        raise unknown_name("measure", typed, [*PRESETS, *known], command="rankscope explain")
    return (typed,)


def _accompanied(name: str, known: dict[str, Request]) -> dict[str, Request]:
    """The request of a name and those of its companions, in its form and scope and of its heads."""
    base = known[name].measure
    names = [name.replace(base.name, each, 1) for each in (base.name, *base.companions)]
    return {each: known[each] for each in names}
