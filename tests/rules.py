"""A report in which every kind of number, and of missing number, stands somewhere; for the tests of rules."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from rankscope.records import Depth, Layer, Report, Row, Vector

PLACES = [("enc", k) for k in range(5)] + [("dec", k) for k in range(3)]


def row(stack: str, k: int, measure: str, value: float | None, **fields: Any) -> Row:
    return replace(Row(stack, k, name(stack, k), "block", "sequence", None, None, measure, 1, value), **fields)


def name(stack: str, k: int) -> str:
    return f"{stack}.0.input" if k == 0 else f"{stack}.{k - 1}"


def _depth(stack: str, verdict: str, decay: str | None, layer: str | None = None, reason: str | None = None) -> Depth:
    return Depth(stack, "rank_one_residual_unit", verdict, layer, decay, -0.1, 0.9, 1.0, reason=reason)


def a_judged_report() -> Report:
    """Two stacks. In `enc`, mu_bar falls 0.9, 0.8, 0.6, 0.3, 0.05 and the other measures are as their rows say."""
    rows = [row("enc", k, "mu_bar", v, ceiling=1.0) for k, v in enumerate((0.9, 0.8, 0.6, 0.3, 0.05))]
    rows += [row("dec", k, "mu_bar", v, ceiling=1.0) for k, v in enumerate((0.7, 0.6, 0.5))]
    rows += [row("enc", k, "effective_rank", v, ceiling=64.0) for k, v in enumerate((40.0, 32.0, 16.0, 8.0, 4.0))]
    rows += [row("dec", k, "effective_rank", v, ceiling=32.0) for k, v in enumerate((20.0, 18.0, 16.0))]
    rows += [row(stack, k, "effective_rank", 50.0 - k, scope="pooled") for stack, k in PLACES]
    rows += [row(stack, k, "token_norm_ratio", 1.0 + k) for stack, k in PLACES]
    # values: the first layer is compared with itself
    rows += [row("enc", k, "value_cosine", v, site="value") for k, v in ((1, 1.0), (2, 0.7), (3, 0.5), (4, 0.2))]
    rows += [row("enc", k, "value_cosine", 0.1 * h, site="value", head=h) for k in (2, 4) for h in (0, 1)]
    rows += [row("dec", k, "attention_entropy", 2.0, site="attention") for k in (1, 2)]
    rows += [row("dec", k, "attention_entropy", 0.1, site="attention", parameter="cross") for k in (1, 2)]
    for k in (1, 3):  # the others hold no weight
        weight = f"{name('enc', k)}.w"
        rows.append(row("enc", k, "grad_condition", 100.0 * k, site="weight_gradient", scope="batch", parameter=weight))
    rows += [row(stack, k, "grad_norm", 0.5, site="gradient", scope="batch") for stack, k in PLACES]
    rows += _missing()
    layers = [Layer(stack, k, name(stack, k), "Block") for stack, k in PLACES]
    return Report(
        model={"spec": "net.pt", "class": "Net", "format": "module", "sha256": None},
        rows=tuple(rows),
        inputs={"source": "random", "sha256": "ab" * 32, "seed": 0},
        environment={"dtype": "float32", "device": "cpu"},
        layers=tuple(layers),
        depth=(_depth("enc", "collapsed", "doubly_exponential", "enc.3"), _depth("dec", "healthy", "none")),
        spectra=(Vector("enc", 1, "enc.0", "block", "sequence", None, None, "singular_values", 1),),
        created="2026-11-21T20:00:00Z",
        rankscope="0.1.0",
    )


def _missing() -> list[Row]:
    """One measure for each way in which a number can be missing at layer 2 of `enc`; elsewhere it is 10."""
    kinds: dict[str, dict[str, Any] | None] = {
        "mu": {"value": math.nan},
        "stable_rank": {"value": math.inf},
        "participation_ratio": {"value": None},
        "rankme": {"value": None, "status": "undefined", "reason": "fewer than 4 tokens"},
        "entropy_rank": {"value": None, "status": "skipped", "reason": "it did not run"},
        "numerical_rank": {"value": None, "status": "error", "reason": "ValueError: x"},
        "mu_1inf": {"value": 10.0, "status": "undefined", "reason": None},
        "token_similarity": None,  # no row
    }
    return [
        replace(row(stack, k, measure, 10.0), **((fields or {}) if (stack, k) == ("enc", 2) else {}))
        for measure, fields in kinds.items()
        for stack, k in PLACES
        if (stack, k) != ("enc", 2) or fields is not None
    ]
