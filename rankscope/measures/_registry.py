"""What a measure is, and the decorator that registers one."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeVar

from rankscope.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rankscope.records import Site

Form = Literal["raw", "centered", "unit", "unit_centered"]
Bound = float | str | None
F = TypeVar("F", bound="Callable[..., Tensor]")

SITES: dict[str, Site] = {
    "tokens": "block",
    "spectrum": "block",
    "previous": "block",
    "value": "value",
    "mixed_value": "value",
    "first_value": "value",
    "values_spectrum": "value",
    "attention": "attention",
    "allowed": "attention",
    "gradient": "gradient",
    "last_gradient": "gradient",
    "gradient_spectrum": "weight_gradient",
}
"""What a measure can need, and where it is taken; `previous` are the tokens of the layer before, kept until then."""

MOMENTS = {"norms", "size", "spread", "purity", "spectrum"}
"""What is had of an activation without keeping it: ‖y_i‖ (*batch, tokens), ‖Y‖_F, ‖PY‖_F, Σσ⁴/(Σσ²)², and σ."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure and all that is said of it.

    `needs` are the parameters of `function`; `forms` what may be done to the tokens first; `pooled` whether it is a
    function of singular values alone, so that it can be taken over the tokens of all sequences; `healthy` the end at
    which representations are rich; `bounds` its range; `undefined` when it is NaN; `rank` and `residual` what stands
    beside it (`bounds_beside`); `beside` gives that of the same needs where the shape alone does not decide it;
    `companions` the measures always shown with it; `min_tokens` the fewest tokens; `vector` whether it is several
    numbers a sequence, which a report keeps apart from its rows; `in_full` whether the preset `full` holds it;
    `of_moments` the same number from moments of the tokens.
    """

    name: str
    function: Callable[..., Tensor]
    needs: tuple[str, ...]
    site: Site
    forms: tuple[Form, ...]
    healthy: Literal["high", "low"] | None
    bounds: tuple[Bound, Bound]
    paper: str
    formula: str
    undefined: str
    version: int
    rank: bool
    residual: bool
    pooled: bool
    companions: tuple[str, ...]
    min_tokens: int
    beside: Callable[..., tuple[Tensor, Tensor]] | None
    vector: bool
    in_full: bool
    of_moments: Callable[..., Tensor] | None

    @property
    def moments(self) -> tuple[str, ...] | None:
        """The moments of an activation that it can be had from; None where it takes the tokens themselves."""
        if self.site != "block":
            return None
        needs = _parameters(self.of_moments) if self.of_moments else self.needs
        return needs if MOMENTS.issuperset(needs) else None

    @property
    def per_head(self) -> bool:
        """Whether it can be taken of every head by itself: of values and attention, where the heads are apart."""
        return self.site in {"value", "attention"}

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def description(self) -> str:
        """The docstring up to its arguments."""
        return (inspect.getdoc(self.function) or "").partition("\n\nArgs:")[0]


@lru_cache
def _parameters(function: Callable[..., Tensor]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


MEASURES: Registry[Measure] = Registry("measure", "rankscope.measures")


def measure(
    *,
    formula: str,
    paper: str,
    undefined: str,
    forms: tuple[Form, ...] = ("raw",),
    healthy: Literal["high", "low"] | None = None,
    bounds: tuple[Bound, Bound] = (None, None),
    version: int = 1,
    rank: bool = False,
    residual: bool = False,
    pooled: bool = False,
    companions: tuple[str, ...] = (),
    min_tokens: int = 4,
    beside: Callable[..., tuple[Tensor, Tensor]] | None = None,
    vector: bool = False,
    in_full: bool = True,
    of_moments: Callable[..., Tensor] | None = None,
) -> Callable[[F], F]:
    """Register a function as the measure of its name; the names of its parameters are its needs.

    Args:
        formula: the formula, in one line.
        paper: where it comes from.
        undefined: for which finite input it is NaN.
        forms: what may be done to the tokens first.
        healthy: the rich end.
        bounds: least and greatest value; a number, a text, or None.
        version: raised when the numbers change.
        rank: whether ceiling, Gaussian reference and noise floor of a rank stand beside it.
        residual: whether it is a distance from collapse over the size of the data, which dtype noise keeps from 0.
        pooled: for a measure of tokens: whether their singular values alone decide it.
        companions: measures shown whenever it is.
        min_tokens: with fewer tokens it means nothing.
        beside: a function of the same needs that gives the ceiling and the reference of each sequence.
        vector: whether it gives (*batch, n), each number non-decreasing in its singular value.
        in_full: whether the preset `full` holds it; else it is had only by its name.
        of_moments: the same number as a function of moments of the tokens: its fast twin.

    Returns:
        A decorator that gives the function back as it is.

    Example:
        >>> sorted(MEASURES["value_cosine"].needs), MEASURES["mu_bar"].site
        (['first_value', 'value'], 'block')
    """

    def register(function: F) -> F:
        name, needs = function.__name__, _parameters(function)
        entry = Measure(
            name=name,
            function=function,
            needs=needs,
            site=_site(name, needs),
            forms=forms,
            healthy=healthy,
            bounds=bounds,
            paper=paper,
            formula=formula,
            undefined=undefined,
            version=version,
            rank=rank,
            residual=residual,
            pooled=pooled or "spectrum" in needs,
            companions=companions,
            min_tokens=min_tokens,
            beside=beside,
            vector=vector,
            in_full=in_full,
            of_moments=of_moments,
        )
        MEASURES.add(name, entry)
        return function

    return register


def _site(name: str, needs: tuple[str, ...]) -> Site:
    """Where all that a measure needs is had."""
    unknown = [need for need in needs if need not in SITES]
    if unknown or not needs:
        raise TypeError(f"measure {name!r} asks for {unknown or 'nothing'}; it can need {', '.join(SITES)}")
    sites = {SITES[need] for need in needs}
    if len(sites) > 1:
        raise TypeError(f"measure {name!r} asks for {', '.join(needs)}, which are never had together")
    return sites.pop()
