"""Depth: how fast the tokens of a stack draw together over its layers, and the verdict in one word.

Works on rows alone, so that a saved report can be judged again under other limits.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rankscope.records import Depth, Note, Row

if TYPE_CHECKING:
    from collections.abc import Iterable

RESIDUAL = "rank_one_residual_unit"
MU_BAR = "mu_bar_unit"
RANK = "effective_rank_unit"
TOO_FEW = re.compile(r"fewer than \d+ tokens")
"""What a row says where no sequence of the layer is long enough."""
# Rank of the differences between tokens, the one that is there first.
_CENTERED = ("effective_rank_centered", "participation_ratio_centered")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the verdict and of the fit. All are choices of this project; no paper states them.

    `collapsed` and `thinning` are values of rank_one_residual_unit (and, for thinning, of mu_bar_unit); `thin_rank` and
    `rich_rank` shares of the rank that Gaussian data of the same shape have, both less one; `floor_eps` counts the eps
    of the data's dtype; `flat` and `clear` are a rate and an R²; `steep` is the exponent of doubly exponential decay,
    fitted where the value is under `exponent_below`.
    """

    collapsed: float = 0.05
    thinning: float = 0.3
    thin_rank: float = 0.1
    rich_rank: float = 0.25
    floor_eps: float = 4.0
    flat: float = 0.01
    clear: float = 0.8
    steep: float = 2.0
    exponent_below: float = 0.5
    points: int = 3

    def __str__(self) -> str:
        return (
            f"collapsed: {RESIDUAL} under {self.collapsed:g} at a layer and all later ones; thinning: it or {MU_BAR} "
            f"under {self.thinning:g}, or {RANK} under {self.thin_rank:g} of Gaussian data's (both less 1)"
        )


@dataclass(slots=True)
class Stack:
    """The rows of one stack that a verdict needs: measure, then layer index. `eps` is that of the data's dtype."""

    name: str
    eps: float
    limits: Limits
    rows: dict[str, dict[int, Row]] = field(default_factory=lambda: defaultdict(dict))

    def row(self, measure: str, k: int) -> Row | None:
        """The row of a measure at layer k."""
        return self.rows.get(measure, {}).get(k)

    def value(self, measure: str, k: int, worst: bool = False) -> float | None:
        """The mean over sequences, or the least; None unless it is a finite number of status ok."""
        row = self.row(measure, k)
        number = None if row is None or row.status != "ok" else row.min if worst else row.value
        return number if number is not None and math.isfinite(number) else None

    def at_floor(self, measure: str, k: int, value: float) -> bool:
        """Whether a value is no more than the rounding of the data's dtype shows."""
        row = self.row(measure, k)
        return value <= max(self.limits.floor_eps * self.eps, (row and row.floor) or 0.0)

    def take(self, row: Row) -> None:
        """Keep a row of the blocks' outputs; others tell nothing of depth."""
        if row.site == "block" and row.scope == "sequence" and row.head is None and row.parameter is None:
            self.rows[row.measure][row.layer_index] = row

    @property
    def layers(self) -> list[int]:
        """Layer indices in ascending order, up to the last layer that has enough tokens to be judged."""
        found = sorted(self.rows.get(RESIDUAL, ()))
        return found[: len(found) - len(self.short)] or found

    @property
    def short(self) -> list[int]:
        """The layers at the end with too few tokens to be judged: pooled, or down to a token for the class."""
        found = sorted(self.rows.get(RESIDUAL, ()))
        last = next((k for k in reversed(found) if not TOO_FEW.fullmatch(self.rows[RESIDUAL][k].reason or "")), None)
        return [k for k in found if last is not None and k > last]

    def layer(self, k: int) -> str:
        """The name of layer k."""
        return self.rows[RESIDUAL][k].layer


def verdicts(
    rows: Iterable[Row], dtype_eps: float, limits: Limits | None = None
) -> tuple[tuple[Depth, ...], tuple[Note, ...]]:
    """Judge every stack and fit the decay of its two measures of token collapse.

    With r = rank_one_residual_unit: ``collapsed`` is r under 0.05 at some layer and all later ones; ``thinning`` is r
    or mu_bar_unit under 0.3, or effective_rank_unit − 1 under a tenth of the Gaussian reference − 1, at any layer
    k ≥ 1; else ``healthy``; ``undefined`` where r of the last layer is. Layers at the end whose sequences have fewer
    than 4 tokens, as after pooling, are not judged, and the reason says so. The worst sequence is judged the same way,
    on the least value of each layer. The rate is the slope of ln r against k, the exponent the slope of ln r(k+1) on
    ln r(k) where r(k) < 0.5; layers at the noise floor are not fitted.

    Args:
        rows: rows of a report; those of other sites, scopes and measures are ignored.
        dtype_eps: eps of the dtype that the activations were computed in, such as 1.19e-7.
        limits: limits of the verdict, the defaults if not given.

    Returns:
        One `Depth` a stack and measure (rank_one_residual_unit always, mu_bar_unit where it was measured), and notes.

    Example:
        >>> r = [Row("h", k, f"h.{k}", "block", "sequence", None, None, RESIDUAL, 1, 0.5**k) for k in range(9)]
        >>> depth, notes = verdicts(r, 1.2e-7)
        >>> depth[0].verdict, depth[0].layer, depth[0].decay, round(depth[0].rate, 3)
        ('collapsed', 'h.5', 'exponential', -0.693)
    """
    limits = limits or Limits()
    stacks: dict[str, Stack] = {}
    for row in rows:
        stacks.setdefault(row.stack, Stack(row.stack, dtype_eps, limits)).take(row)
    found = [_judge(stack) for stack in stacks.values()]
    notes = [Note("RS510", f"limits of the verdict: {limits}")] if found else []
    notes += [note for stack in stacks.values() for note in _rich(stack)]
    return tuple(depth for group in found for depth in group), tuple(notes)


def _judge(stack: Stack) -> list[Depth]:
    """The entries of one stack."""
    verdict, layer, reason = _verdict(stack)
    worst, worst_layer, _ = _verdict(stack, worst=True)
    entries = []
    for measure in (RESIDUAL, MU_BAR):
        if measure == MU_BAR and measure not in stack.rows:
            continue
        decay, no_fit = _decay(stack, measure)
        told = [reason or no_fit or _unseen(stack, verdict), _shrunk(stack)]
        why = "; ".join(text for text in told if text) or None
        entries.append(Depth(stack.name, measure, verdict, layer, *decay, worst, worst_layer, why))
    return entries


def _shrunk(stack: Stack) -> str | None:
    """Up to where a stack was judged whose token count shrinks at its end."""
    if not stack.short:
        return None
    count, reason = len(stack.short), stack.rows[RESIDUAL][stack.short[-1]].reason
    after = "the last layer has" if count == 1 else f"the {count} layers after it have"
    return f"judged up to {stack.layer(stack.layers[-1])}: {after} {reason}"


def _unseen(stack: Stack, verdict: str) -> str | None:
    """Which numbers a healthy verdict was taken without: a limit that could not be tried was not kept."""
    last = stack.layers[-1]
    absent = [measure for measure in (MU_BAR, RANK) if stack.value(measure, last) is None]
    return f"judged without {' and '.join(absent)}" if absent and verdict == "healthy" else None


def _verdict(stack: Stack, worst: bool = False) -> tuple[str, str | None, str | None]:
    """Verdict, the first layer where it holds, and why it is undefined."""
    layers = stack.layers
    if not layers:
        return "undefined", None, f"{RESIDUAL} was not measured"
    last = layers[-1]
    if stack.value(RESIDUAL, last, worst) is None:
        row = stack.rows[RESIDUAL][last]
        told = f"{row.status}: {row.reason}" if row.reason else row.status
        first = next(k for k in layers if stack.value(RESIDUAL, k, worst) is None)
        since = f", first at {stack.layer(first)}" if first != last else ""
        return "undefined", None, f"{RESIDUAL} of the last layer, {row.layer}, is {told}{since}"
    run = len(layers)
    while run and _collapsed(stack, layers[run - 1], worst):
        run -= 1
    if run < len(layers):
        return "collapsed", stack.layer(layers[run]), None
    for k in [k for k in layers if k >= 1] or layers[-1:]:
        if thin(stack, k, worst):
            return "thinning", stack.layer(k), None
    return "healthy", None, None


def _collapsed(stack: Stack, k: int, worst: bool) -> bool:
    value = stack.value(RESIDUAL, k, worst)
    return value is not None and (value < stack.limits.collapsed or stack.at_floor(RESIDUAL, k, value))


def thin(stack: Stack, k: int, worst: bool = False) -> list[str]:
    """In words, the limits of thinning that a layer falls under; a value that is not there falls under none."""
    limits, told = stack.limits, []
    for measure in (RESIDUAL, MU_BAR):
        value = stack.value(measure, k, worst)
        if value is not None and value < limits.thinning:
            told.append(f"{measure} {_apart(value, limits.thinning)} is under {limits.thinning:g}")
    value, row = stack.value(RANK, k, worst), stack.row(RANK, k)
    reference = row.reference if row is not None else None
    if value is not None and reference is not None and value - 1 < limits.thin_rank * (reference - 1):
        told.append(f"{RANK} {value:.3g} is far under the {reference:.3g} of Gaussian data")
    return told


def _apart(value: float, limit: float) -> str:
    """A number with the digits that show it is not the limit."""
    texts = (f"{value:.{digits}g}" for digits in range(2, 17))
    return next((text for text in texts if float(text) != limit), repr(value))


_Fit = tuple[str | None, float | None, float | None, float | None]


def _decay(stack: Stack, measure: str) -> tuple[_Fit, str | None]:
    """Decay, rate, R² and exponent over the layers above the floor, or the reason for none."""
    limits, values = stack.limits, {}
    for k in stack.rows.get(measure, ()):
        value, row = stack.value(measure, k), stack.rows[measure][k]
        if value is not None and not stack.at_floor(measure, k, value) and value > (row.error or 0.0):
            values[k] = value
    if len(values) < limits.points:
        total = len(stack.rows.get(measure, ()))
        why = f"{len(values)} of {total} layers hold a number above the noise floor; a fit needs {limits.points}"
        return (None, None, None, None), why
    depths = sorted(values)
    rate, r2 = _line(np.array(depths, dtype=float), np.log([values[k] for k in depths]))
    pairs = [(k, k + 1) for k in depths if k + 1 in values and values[k] < limits.exponent_below]
    exponent = exponent_r2 = None
    if len(pairs) >= limits.points:
        exponent, exponent_r2 = _line(*(np.log([values[pair[side]] for pair in pairs]) for side in (0, 1)))
    return (_word(limits, rate, r2, exponent, exponent_r2), rate, r2, exponent), None


def _word(limits: Limits, rate: float, r2: float, exponent: float | None, exponent_r2: float | None) -> str:
    """The kind of decay."""
    if rate > limits.flat:
        return "growing"
    if rate >= -limits.flat:
        return "none"
    # Asked for before R²: ln r that triples every layer is no straight line (R² 0.76 over five layers), so that a
    # limit on R² alone would call the fastest decay none.
    if exponent is not None and exponent >= limits.steep and (exponent_r2 or 0.0) >= limits.clear:
        return "doubly_exponential"
    return "none" if r2 < limits.clear else "exponential"


def _line(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Slope and R² of the least-squares line; points without any spread lie on a flat line."""
    dx, dy = x - x.mean(), y - y.mean()
    sxx, sxy, syy = float(dx @ dx), float(dx @ dy), float(dy @ dy)
    tiny = 1e-24 * len(x)
    if sxx <= tiny or syy <= tiny:
        return 0.0, 1.0 if syy <= tiny else 0.0
    return sxy / sxx, min(1.0, sxy * sxy / (sxx * syy))


def _rich(stack: Stack) -> list[Note]:
    """A note where tokens share a direction but their differences still spread over many."""
    verdict, name, _ = _verdict(stack)
    layers = stack.layers
    last = stack.value(RESIDUAL, layers[-1]) if layers else None
    if verdict not in {"collapsed", "thinning"} or last is None or stack.at_floor(RESIDUAL, layers[-1], last):
        return []  # at the floor the differences are rounding, which is always rich
    for measure in _CENTERED:
        row, value = stack.row(measure, layers[-1]), stack.value(measure, layers[-1])
        if row is None or value is None or row.reference is None or row.reference <= 1:
            continue
        if value - 1 >= stack.limits.rich_rank * (row.reference - 1) and value > (row.floor or 0.0):
            told = f"{measure} {value:.3g} at {row.layer}, {row.reference:.3g} for Gaussian data"
            text = f"{stack.name}: the tokens share one direction ({verdict} at {name}), but what differs between them"
            return [Note("RS511", f"{text} is still rich: {told}")]
        return []
    return []
