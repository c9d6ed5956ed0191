"""Steps: one block that has run, turned into the numbers of each of its sequences. All arithmetic is in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rankscope.certificate import additive, seminorm, theorem
from rankscope.certificate.matrices import NO_MATRICES, Mixed, fits
from rankscope.certificate.records import Step
from rankscope.certificate.rounding import near
from rankscope.measures import center, norm, unit

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.certificate.records import Norm
    from rankscope.certificate.watching import By
    from rankscope.records import Layer

_UNIT = 1e-5  # how far the norm of a row may be from 1, in float32
MIN_TOKENS = 4  # of a sequence, as for every verdict
FEW = f"fewer than {MIN_TOKENS} tokens"
NOT_FINITE = "the tokens are not finite"
EQUAL = "its tokens are all equal when they enter: mu is 0 up to rounding"
ROWS = "covered up to its norm of rows: ρ, c and the bounds are those of λY + F before it"
NORM = "covered up to the norm after its skip: ρ, c and the bounds are those of λY + F before it"
SEVERAL = (
    "covered add by add, each up to the norm after it: ρ, c and the bounds are those of λY + F before it, of the add "
    "that keeps least"
)
NO_NORM = "its rows are not scaled to unit norm: no norm follows its skip"
OTHER = "its rows are not scaled to unit norm: another norm, or map, follows a skip of it"
NO_SKIP = "no residual add was recognised in it: nothing carries its tokens past the branch"


@dataclass(frozen=True, slots=True)
class Part:
    """One span of a block for one sequence: Y, λY + F and λ, the real tokens as (tokens, width) float64."""

    begin: Tensor
    end: Tensor
    lam: float
    by: By = "input"


@dataclass(frozen=True, slots=True)
class Seen:
    """One sequence through one block.

    `begin` and `end` are Y and Y' (tokens, width) float64, `eps` that of the dtype they had. `why` says why the spans
    tell nothing of the block.
    """

    layer: Layer
    begin: Tensor
    end: Tensor
    parts: tuple[Part, ...]
    adds: int
    why: str | None
    eps: float
    mixed: Mixed


def step(seen: Seen, retain: float) -> Step:
    """The numbers of one sequence and block; `bound`, which needs the blocks before, is left out.

    Args:
        seen: what was captured.
        retain: √a.

    Returns:
        The step.
    """
    begin, end = seen.begin, seen.end
    found = Step(seen.layer.index, seen.layer.name, seen.layer.type, adds=seen.adds)
    if not bool(begin.isfinite().all() & end.isfinite().all()):
        return _without(found, NOT_FINITE)
    if min(len(begin), len(end)) < MIN_TOKENS:
        return _without(replace(found, mu_before=_mu(begin) if len(begin) >= MIN_TOKENS else None), FEW)
    before = _mu(begin)
    if begin.shape != end.shape:
        found = _without(found, f"it gives {_shape(end)} for {_shape(begin)}: no skip goes around it")
    found = replace(found, mu_before=before, mu=_mu(end), mu_bar=_mu(end) / end.norm().item() if end.any() else None)
    found = _matrices(found, seen)
    if found.no_additive is not None:
        return found
    if seen.why is not None or not seen.adds:
        return replace(_without(found, seen.why or NO_SKIP), mu_before=before)
    last = seen.parts[-1]
    follows = "other" if any(part.by == "other" for part in seen.parts) else _follows(last.end, end, seen.eps)
    if follows == "none":  # what rounding, or a map too small to tell from it, did after the add is of F as well
        seen = replace(seen, parts=(*seen.parts[:-1], replace(last, end=end)))
    found = replace(found, norm=follows, lam=seen.parts[0].lam)
    return _theorem(_seminorm(_additive(found, seen, retain), seen, retain), seen, retain)


def _follows(total: Tensor, end: Tensor, eps: float) -> Norm:
    """What makes the output of the sum of the last add: of rows that are almost unit already, what is nearest."""
    plain, rows = ((made - end).norm() for made in (total, unit(total)))
    made: Norm = "row" if rows < plain else "none"
    return made if near(unit(total) if made == "row" else total, end, eps) else "other"


def _mu(tokens: Tensor) -> float:
    return norm(center(tokens), (-2, -1)).item()


def _shape(tokens: Tensor) -> str:
    return " × ".join(map(str, tokens.shape))


def _without(found: Step, reason: str) -> Step:
    """A step of which no certificate can be had."""
    why = reason if found.mixing_norm is None and found.no_matrices is None else found.no_matrices
    return replace(found, no_additive=reason, no_seminorm=reason, no_matrices=why, no_values=found.no_values or why)


def _apart(tokens: Tensor, mu: float, eps: float) -> bool:
    """Whether mu is more than rounding makes of equal tokens."""
    return bool(mu > 4 * eps * tokens.norm().item())


def _matrices(found: Step, seen: Seen) -> Step:
    """C_M and S of this block."""
    mixed = seen.mixed
    why = None if mixed.mixing_norm is not None else mixed.no_matrices or NO_MATRICES
    values = None if mixed.value_norm is not None else mixed.no_values or why
    return replace(found, mixing_norm=mixed.mixing_norm, value_norm=mixed.value_norm, no_matrices=why, no_values=values)


def _additive(found: Step, seen: Seen, retain: float) -> Step:
    """δ, x and the loss, where rows are unit before and after every add."""
    if found.norm != "row":
        follows = NO_NORM if found.norm == "none" else OTHER
        return replace(found, no_additive=follows)
    if not _unit_rows(seen.begin, seen.eps):
        return replace(found, no_additive="the rows that enter it have not unit norm")
    parts = seen.parts
    deltas = [(part.end - part.lam * part.begin).norm(dim=-1).max().item() for part in parts]
    ratios = [_ratio(delta, part) for delta, part in zip(deltas, parts, strict=True)]
    x = max(ratios)
    found = replace(found, delta=deltas[ratios.index(x)], x=x if math.isfinite(x) else None)
    if not x < 1:
        return replace(found, no_additive=f"δ is {found.delta:.3g}, not under |λ|: a row may turn by any angle")
    tokens = len(seen.begin)
    loss = math.sqrt(tokens) * math.fsum(map(additive.chord, ratios)) + _rounding(parts, seen.end)
    mu = found.mu_before or 0.0
    if not _apart(seen.begin, mu, seen.eps):
        return replace(found, loss=loss)
    return replace(found, loss=loss, lambda_additive=additive.smallest_lambda(deltas, (1 - retain) * mu, tokens))


def _rounding(parts: tuple[Part, ...], end: Tensor) -> float:
    """How far rounding moved the tokens: a span begins with rows of almost unit norm, and ends in what follows."""
    follow = (*(part.begin for part in parts[1:]), end)
    off = [(part.begin - unit(part.begin)).norm().item() for part in parts]
    return math.fsum(off) + math.fsum((unit(p.end) - q).norm().item() for p, q in zip(parts, follow, strict=True))


def _ratio(delta: float, part: Part) -> float:
    """The x = δ/|λ| of a span, rows that are not quite of unit norm allowed for."""
    least = abs(part.lam) * part.begin.norm(dim=-1).min().item()
    return delta / least if least else math.inf if delta else 0.0


def _unit_rows(tokens: Tensor, eps: float) -> bool:
    return bool(((tokens.norm(dim=-1) - 1).abs() <= max(_UNIT, 2 * eps)).all())


def _seminorm(found: Step, seen: Seen, retain: float) -> Step:
    """ρ, c and what they bound, of the whole block, or of the add that keeps least where norms stand between."""
    every = [(part, seminorm.sizes(part.begin, part.end - part.lam * part.begin)) for part in seen.parts]
    if not all(_apart(part.begin, sizes.mu, seen.eps) for part, sizes in every):
        return replace(found, no_seminorm=EQUAL)
    part, sizes = min(every, key=lambda pair: seminorm.kept(pair[0].lam, pair[1]))
    low, high = seminorm.mu_range(part.lam, sizes)
    bar_low, bar_high = seminorm.mu_bar_range(part.lam, sizes)
    found = replace(found, mu_low=low, mu_high=high, mu_bar_low=_known(bar_low), mu_bar_high=_known(bar_high))
    cosine = sizes.cosine if sizes.mu_branch else None
    found = replace(found, rho=sizes.rho, cosine=cosine, kept=seminorm.kept(part.lam, sizes), lam=part.lam)
    if len(every) > 1:
        return replace(found, no_seminorm=SEVERAL)
    if found.norm != "none":
        return replace(found, no_seminorm=ROWS if found.norm == "row" else NORM)
    return replace(found, lambda_seminorm=seminorm.smallest_lambda(sizes, retain**2, part.lam))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _theorem(found: Step, seen: Seen, retain: float) -> Step:
    """The condition, whether F has the form of the theorem, and the least λ of this block alone."""
    mixed, part = seen.mixed, seen.parts[0]
    if found.lam is None or mixed.mixing_norm is None or mixed.value_norm is None:
        return found
    s, a = mixed.mixing_norm * mixed.value_norm, retain**2
    found = replace(found, condition=theorem.condition(found.lam, s, a))
    if mixed.branch is not None and len(seen.parts) == 1:
        skip = abs(part.lam) * part.begin.norm().item()
        found = replace(found, form=fits(part.end - part.lam * part.begin, mixed.branch, skip, seen.eps))
    if found.form and found.norm == "row" and _unit_rows(seen.begin, seen.eps) and found.mu_before is not None:
        least = theorem.smallest_lambda(s, a, 1, (len(seen.begin), seen.begin.shape[1]), found.mu_before)
        found = replace(found, lambda_theorem=_known(least))
    return found
