"""The verdict of a stack in words for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rankscope.depth import RESIDUAL, Limits, Stack, thin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Depth, Row

_SEVERITY = ("undefined", "healthy", "thinning", "collapsed")


def sentence(depth: Depth, rows: Sequence[Row], limits: Limits | None = None) -> str:
    """The verdict of one stack in plain words.

    Args:
        depth: an entry of `verdicts`.
        rows: the rows it was taken from.
        limits: the limits it was taken under, the defaults if not given.

    Returns:
        One line; names of layers are as the model has them.

    Example:
        >>> from rankscope.depth import verdicts
        >>> from rankscope.records import Row
        >>> r = [Row("h", k, f"h.{k}", "block", "sequence", None, None, RESIDUAL, 1, 0.6**k) for k in range(9)]
        >>> print(sentence(verdicts(r, 1e-7)[0][0], r))
        collapsed from h.6 on: on average the tokens of a sequence are within 1.7 % of one direction at the end; the
        decay is exponential, a factor 0.6 a layer (R² 1.00)
    """
    stack = Stack(depth.stack, 0.0, limits or Limits())
    for row in rows:
        if row.stack == depth.stack:
            stack.take(row)
    if depth.verdict == "undefined":
        return f"undefined: {depth.reason}"
    if depth.verdict == "collapsed":
        state = _say_collapsed(depth, stack)
    else:
        state = _say_thinning(depth, stack) if depth.verdict == "thinning" else _say_healthy(stack)
    return "; ".join(part for part in (state, _say_worst(depth), _say_decay(depth)) if part)


def _away(value: float) -> str:
    """A distance to one direction as a share of the matrix; no finer than a hundredth of a percent."""
    return f"{max(100 * value, 0.01):.2g} %"


def _say_collapsed(depth: Depth, stack: Stack) -> str:
    """Where, and how near to one direction, the tokens of every sequence are from there on."""
    run = [k for k in stack.layers if stack.layer(k) == depth.layer][-1:]
    rows = [stack.rows[RESIDUAL][k] for k in stack.layers if run and k >= run[0]]
    if not rows or any(row.value is None for row in rows):
        return f"collapsed from {depth.layer} on"
    start = " (already the input of the first block)" if run[0] == 0 else ""
    last = rows[-1]
    value, who = last.value, "on average the tokens of a sequence are"
    if last.max is not None and last.max < stack.limits.collapsed:
        value, who = last.max, "the tokens of every sequence are"
    assert value is not None
    return f"collapsed from {depth.layer} on{start}: {who} within {_away(value)} of one direction at the end"


def _say_thinning(depth: Depth, stack: Stack) -> str:
    """Where first, and by which limit."""
    at = [k for k in stack.layers if stack.layer(k) == depth.layer]
    told = ", ".join(thin(stack, at[0])) if at else ""
    end = stack.value(RESIDUAL, stack.layers[-1]) if stack.layers else None
    parts = [f"thinning, first at {depth.layer}" + (f": {told}" if told else "")]
    parts += [f"at the end the tokens are {_away(end)} away from one direction"] if end is not None else []
    return "; ".join(parts)


def _say_healthy(stack: Stack) -> str:
    """How near to one direction the tokens come, and where."""
    values = {k: v for k in stack.layers if (v := stack.value(RESIDUAL, k)) is not None}
    if not values:
        return "healthy"
    least = min(values, key=lambda k: values[k])
    near = f"at the nearest, {stack.layer(least)}, they are {_away(values[least])} away from one direction"
    return f"healthy: the tokens stay apart; {near}"


def _say_worst(depth: Depth) -> str:
    """The worst sequence, where it is judged worse than the mean."""
    worst = depth.worst_verdict
    if worst is None or _SEVERITY.index(worst) <= _SEVERITY.index(depth.verdict):
        return ""
    return f"the worst sequence is {worst} " + (
        f"from {depth.worst_layer} on" if worst == "collapsed" else f"at {depth.worst_layer}"
    )


EVEN = 0.95  # R² of a straight line from which on a fall is called exponential without reserve


def _say_decay(depth: Depth) -> str:
    """The kind of decay with its numbers."""
    if depth.decay is None or depth.rate is None or depth.r2 is None:
        return f"no fit over depth: {depth.reason}" if depth.reason else ""
    factor = f"a factor {math.exp(depth.rate):.3g} a layer (R² {depth.r2:.2f})"
    words = {
        "none": "no steady decay over depth",
        "growing": f"they draw apart with depth, {factor}",
        "exponential": f"the decay is exponential, {factor}"
        if depth.r2 >= EVEN
        else f"they draw together unevenly, {factor}",
        "doubly_exponential": f"the decay is doubly exponential, exponent {depth.exponent or math.nan:.2g}",
    }[depth.decay]
    return f"{words}; {depth.reason}" if depth.reason else words
