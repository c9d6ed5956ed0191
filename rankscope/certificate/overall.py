"""Overall: the certificates of a whole stack for one sequence, and which of the sequences is the worst."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from rankscope.certificate import additive, theorem
from rankscope.certificate.records import Measured, Sequence, Theorem
from rankscope.certificate.steps import EQUAL, NOT_FINITE
from rankscope.certificate.words import formless

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rankscope.certificate.records import Step

_ORDER = ("undefined", "fails", "not applicable", "holds")
BETWEEN = "its input is not what the block before gave"


def sequence(number: int, size: tuple[int, int], steps: list[Step], unlinked: set[int], retain: float) -> Sequence:
    """The certificates of one sequence.

    Args:
        number: of the sequence in the run.
        size: real tokens, and width of the stream.
        steps: of its blocks, in order.
        unlinked: indices of blocks whose input is not what the block before gave.
        retain: √a.

    Returns:
        The sequence, its steps with their bounds.
    """
    steps = _bounded(steps, unlinked)
    first, last = steps[0].mu_before, steps[-1].mu
    return Sequence(
        sequence=number,
        tokens=size[0],
        width=size[1],
        mu_first=first,
        mu_last=last,
        theorem=_theorem(steps, size, unlinked, retain),
        additive=_additive(steps, size[0], unlinked, retain),
        seminorm=_seminorm(steps, unlinked, retain),
        steps=tuple(steps),
    )


def _bounded(steps: list[Step], unlinked: set[int]) -> list[Step]:
    """The steps with what the additive certificate leaves of mu(Y(0)) at each, as far as it reaches."""
    bound, found = steps[0].mu_before, []
    for step, between in zip(steps, _between(steps), strict=True):
        linked = step.index not in unlinked
        bound = bound - step.loss - between if bound is not None and step.loss is not None and linked else None
        found.append(replace(step, bound=bound))
    return found


def _between(steps: list[Step]) -> list[float]:
    """What mu lost from one block to the next by less than what tells two tensors apart: up to 3 % in bfloat16."""
    left = [steps[0].mu_before, *(step.mu for step in steps[:-1])]
    return [max(0.0, (gave or 0.0) - (step.mu_before or 0.0)) for gave, step in zip(left, steps, strict=True)]


def _where(steps: Iterable[Step], unlinked: set[int], name: str) -> str | None:
    """Why a certificate does not reach through all blocks: the first that it does not cover."""
    for step in steps:
        reason = BETWEEN if step.index in unlinked else getattr(step, name)
        if reason is not None:
            return f"block {step.index}: {reason}"
    return None


def _missing(steps: list[Step]) -> str | None:
    """Where the numbers end."""
    first = next((step for step in steps if step.mu_before is None or step.mu is None), None)
    return None if first is None else f"block {first.index}: {first.no_additive or NOT_FINITE}"


def _broken(steps: list[Step], unlinked: set[int], name: str) -> Measured | None:
    """The answer where numbers are missing, or a block is not covered."""
    if (missing := _missing(steps)) is not None:
        return Measured("undefined", missing)
    reason = _where(steps, unlinked, name)
    return None if reason is None else Measured("not applicable", reason)


def _measured(bound: float, first: float, depth: int, retain: float, least: float | None) -> Measured:
    """Whether a bound is as much of mu(Y(0)) as is asked for."""
    if not first > 0:
        return Measured("not applicable", EQUAL, bound)
    kept = bound / first
    if bound <= 0:
        return Measured("fails", f"its bound, {bound:.4g}, says nothing: mu is never under 0", bound, kept, least)
    if kept < retain**depth:
        asked = f"{retain**depth:.3g} is asked for"
        return Measured("fails", f"it certifies {kept:.3g} of mu(Y(0)), {asked}", bound, kept, least)
    return Measured("holds", None, bound, kept, least)


def _additive(steps: list[Step], tokens: int, unlinked: set[int], retain: float) -> Measured:
    if (broken := _broken(steps, unlinked, "no_additive")) is not None:
        deltas = [step.delta for step in steps if step.delta is not None]
        if broken.status == "not applicable" and len(deltas) == len(steps) and not unlinked:
            least = _additive_lambda(steps, deltas, tokens, retain)
            return replace(broken, status="fails", smallest_lambda=least)
        return broken
    first, bound = steps[0].mu_before or 0.0, steps[-1].bound or 0.0
    deltas = [step.delta or 0.0 for step in steps]
    return _measured(bound, first, len(steps), retain, _additive_lambda(steps, deltas, tokens, retain))


def _additive_lambda(steps: list[Step], deltas: list[float], tokens: int, retain: float) -> float | None:
    """One |λ| for all layers, with δ_k as measured."""
    loss = (1 - retain ** len(steps)) * (steps[0].mu_before or 0.0)
    return _finite(additive.smallest_lambda(deltas, loss, tokens))


def _seminorm(steps: list[Step], unlinked: set[int], retain: float) -> Measured:
    if (broken := _broken(steps, unlinked, "no_seminorm")) is not None:
        return broken
    first = bound = steps[0].mu_before or 0.0
    for step, between in zip(steps, _between(steps), strict=True):
        branch = (step.rho or 0.0) * (step.mu_before or 0.0)
        bound = abs(step.lam or 0.0) * (bound - between) - branch
        if bound <= 0:
            break
    least = max((step.lambda_seminorm or 0.0 for step in steps), default=0.0)
    poor = min(steps, key=lambda step: math.inf if step.kept is None else step.kept)
    found = Measured("holds", smallest_lambda=least)
    if first > 0 and bound > 0:
        found = replace(found, bound=bound, retained=bound / first)
    if poor.kept is not None and poor.kept < retain:
        return replace(
            found, status="fails", reason=f"block {poor.index} keeps {poor.kept:.3g} of mu, {retain:.3g} is asked for"
        )
    return replace(found, reason=_unguaranteed(found.retained or 0.0, retain ** len(steps)))


def _unguaranteed(guaranteed: float, asked: float) -> str | None:
    """What is left whichever way F points, where that is less than is kept by F as measured."""
    if guaranteed >= asked:
        return None
    left = f"{guaranteed:.3g} of mu(Y(0))" if guaranteed else "nothing"
    return f"kept as measured; guaranteed whichever way F points: {left}, where {asked:.3g} is asked for"


def _theorem(steps: list[Step], size: tuple[int, int], unlinked: set[int], retain: float) -> Theorem:
    """The hypotheses over all layers."""
    a, first, lams = retain**2, steps[0].mu_before, [step.lam for step in steps]
    mixing, values = [step.mixing_norm for step in steps], [step.value_norm for step in steps]
    known = Theorem(
        "not applicable",
        lam=_least(lams),
        mixing_norm=_most(mixing),
        value_norm=_most(values),
        mu_squared=None if first is None else first**2,
    )
    if known.lam is not None and known.mixing_norm is not None and known.value_norm is not None:
        gap = theorem.condition(known.lam, known.mixing_norm * known.value_norm, a)
        known = replace(known, condition=_finite(gap))
    if (missing := _missing(steps)) is not None or first is None:
        return replace(known, status="undefined", reason=missing)
    reason = next((f"block {step.index}: {why}" for step in steps if (why := _formless(step, unlinked))), None)
    if reason is not None or known.lam is None or known.mixing_norm is None or known.value_norm is None:
        return replace(known, reason=reason)
    return _judged(known, known.lam, known.mixing_norm * known.value_norm, (first, len(steps), size), a)


def _judged(known: Theorem, lam: float, s: float, run: tuple[float, int, tuple[int, int]], a: float) -> Theorem:
    """Whether the two hypotheses hold."""
    first, depth, size = run
    known = replace(known, smallest_lambda=_finite(theorem.smallest_lambda(s, a, depth, size, first)))
    b = theorem.threshold(lam, s, a, depth, size)
    if theorem.condition(lam, s, a) <= 0:
        need = math.sqrt(a) * s / (1 - math.sqrt(a))
        return replace(known, status="fails", reason=f"|λ| is {abs(lam):.4g}, not above √a·S·C_M/(1 − √a) = {need:.4g}")
    known = replace(known, b=_finite(b))
    if b > size[0]:
        return replace(known, reason=f"b = {b:.3g} is out of reach: with unit rows mu² is at most N = {size[0]}")
    if first**2 < b:
        return replace(known, status="fails", reason=f"mu(Y(0))² = {first**2:.4g} is under b = {b:.4g}")
    return replace(known, status="holds")


def _formless(step: Step, unlinked: set[int]) -> str | None:
    """Why a block is no layer Y' = D(M Y C_V + λY) on unit rows, as far as can be seen."""
    if step.index in unlinked:
        return BETWEEN
    if step.norm != "row":
        return step.no_additive
    if step.no_additive is not None and step.delta is None:
        return step.no_additive
    if step.no_matrices or step.no_values:
        return step.no_matrices or step.no_values
    return formless(step)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _most(values: list[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None) if None not in values else None


def _least(lams: list[float | None]) -> float | None:
    """The λ of least size, with its sign."""
    return min((lam for lam in lams if lam is not None), key=abs, default=None) if None not in lams else None


def worst_first(found: Iterable[Sequence]) -> tuple[Sequence, ...]:
    """Sequences, those first of which the least is certified.

    Args:
        found: of one stack.

    Returns:
        The same; those without numbers stand at the end.
    """

    def rank(each: Sequence) -> tuple[bool, float, int]:
        told = each.additive.retained
        told = each.seminorm.retained if told is None else told
        if told is None and each.mu_last is not None and each.mu_first:
            told = each.mu_last / each.mu_first
        return each.mu_last is None, math.inf if told is None else told, each.sequence

    return tuple(sorted(found, key=rank))


def worst_status(found: Iterable[str]) -> str:
    """The least of several outcomes.

    Args:
        found: statuses.

    Returns:
        One of them.

    Example:
        >>> worst_status(["holds", "fails", "holds"])
        'fails'
    """
    return min(found, key=_ORDER.index)
