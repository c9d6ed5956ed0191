"""Reports built by hand, for the tests of everything that reads a report."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from rankscope.depth import verdicts
from rankscope.records import Coverage, Layer, Note, Report, Row

TOKENS, WIDTH, SEQUENCES = 128, 64, 8
EPS = 2.0**-23

# What `add_module` and state dicts accept as a name.
HOSTILE = (
    "blocks.0.[/foo]",
    "[bold red]x[/]",
    "</script><script>alert(1)</script>",
    "\x1b[31mred\x1b[0m",
    "line\nbreak\r\n::error::x",
    "a\x00b\x07\u202ec",
    "=cmd|'/c calc'!A0",
    "+1+2",
    "-2+3",
    "@SUM(A1)",
    "\tx",
    "a|b`c``d\\|e",
    "*bold* _it_ <b> & #1 ~~s~~ ![i](u)",
    'quote"comma,semi;',
    "x" * 300,
    "名前.层.0",
    "surrogate\udc80",
    "",
    " ",
)


def block_row(measure: str, k: int, value: float | None, **fields: Any) -> Row:
    """A row of the output of block k of the stack ``blocks``."""
    row = Row("blocks", k, name_of(k), "block", "sequence", None, None, measure, 1, value)
    spread = (
        {} if value is None else {"min": 0.9 * value, "max": min(1.1 * value, 0.999 * max(1.0, value)), "std": 0.05}
    )
    return replace(row, **{"sequences": SEQUENCES, "tokens": SEQUENCES * TOKENS, **spread, **fields})


def name_of(k: int) -> str:
    return "blocks.0.input" if k == 0 else f"blocks.{k - 1}"


def rows_of_depth(residuals: list[float], **fields: Any) -> list[Row]:
    """Rows of a stack whose distance to one direction takes the given values over its layers."""
    return [block_row("rank_one_residual_unit", k, r, **fields) for k, r in enumerate(residuals)]


def a_report(depth: int = 12, decay: float = 0.95, spec: str = "model.pt", gradients: bool = True) -> Report:
    """A report of all quick measures in which the distance to one direction falls by `decay` a layer."""
    rows: list[Row] = []
    layers = [Layer("blocks", k, name_of(k), "Block", (TOKENS, WIDTH)) for k in range(depth + 1)]
    for k in range(depth + 1):
        r = 0.93 * decay**k
        rank = 1 + 55 * (decay**k)
        gaussian = {"ceiling": 64.0, "reference": 56.6, "floor": 1.0 + 2e-5}
        values: dict[str, tuple[float, dict[str, Any]]] = {
            "mu": (math.sqrt(TOKENS * WIDTH) * r, {}),
            "mu_bar": (0.97 * r, {"ceiling": 1.0, "floor": 2e-7}),
            "mu_bar_unit": (0.98 * r, {"ceiling": 1.0, "floor": 2e-7}),
            "rank_one_residual_unit": (r, {"ceiling": 1.0, "floor": 3e-7, "error": 1e-9}),
            "token_norm_ratio": (1.2 + 0.1 * k, {}),
            "effective_rank": (0.9 * rank, gaussian),
            "effective_rank_unit": (rank, gaussian),
            "stable_rank": (1 + 18 * decay**k, {"ceiling": 64.0, "reference": 19.0, "floor": 1.0}),
            "participation_ratio": (1 + 40 * decay**k, {"ceiling": 64.0, "reference": 42.7, "floor": 1.0}),
            "participation_ratio_centered": (1 + 41 * decay**k, {"ceiling": 64.0, "reference": 42.5, "floor": 1.0}),
        }
        rows += [block_row(measure, k, value, **fields) for measure, (value, fields) in values.items()]
        rows += _value_and_gradients(k, depth, gradients)
    found, notes = verdicts(rows, EPS)
    return Report(
        model={"spec": spec, "class": "Net", "format": "module", "sha256": None, "parameters": 198_272, "edits": []},
        rows=tuple(rows),
        inputs={
            "source": "random",
            "sha256": "ab" * 32,
            "sequences": SEQUENCES,
            "lengths": [TOKENS, TOKENS],
            "tokens": SEQUENCES * TOKENS,
            "seed": 0,
        },
        environment={"torch": "2.13.0", "device": "cpu", "dtype": "float32", "threads": 1, "spectra": "gram64"},
        layers=tuple(layers),
        depth=found,
        coverage=Coverage(depth + 1, depth + 1, depth + 1, depth + 1),
        notes=notes,
        created="2026-11-21T20:00:00Z",
        rankscope="0.1.0",
    )


def _value_and_gradients(k: int, depth: int, gradients: bool) -> list[Row]:
    """Rows of the sites value, gradient and weight_gradient of one layer."""
    rows = []
    if k:
        cosine = 1.0 if k == 1 else math.exp(-0.3 * k)
        rows.append(block_row("value_cosine", k, cosine, site="value"))
    why = {"value": None, "status": "undefined", "reason": "the output does not depend on a gradient"}
    over: dict[str, Any] = {} if gradients else {**why, "min": None, "max": None, "std": None}
    norm = 0.01 * 1.3 ** (k - depth)
    rows.append(replace(block_row("grad_norm", k, norm, site="gradient", scope="batch"), **over))
    if k and gradients:
        for i, part in enumerate(("attn.q", "mlp.up")):
            parameter = f"{name_of(k)}.{part}.weight"
            where = {"site": "weight_gradient", "scope": "batch", "parameter": parameter}
            rows.append(block_row("grad_condition", k, 120.0 * (i + 1) + k, **where))
    return rows


def a_hostile_report() -> Report:
    """A report in which every string that a model file can choose is hostile."""
    base = a_report(depth=len(HOSTILE) - 1, decay=0.8)
    renamed = {name_of(k): text for k, text in enumerate(HOSTILE)}
    rows = [replace(row, layer=renamed[row.layer], stack="[/st|ck]\x1b") for row in base.rows]
    rows = [replace(row, parameter=row.parameter and f"{row.layer}|\nweight") for row in rows]
    bad = {"status": "error", "value": None, "min": None, "max": None, "reason": "it | said\n[/x] \x1b[31m" + "r" * 400}
    rows[13] = replace(rows[13], **bad)
    found, notes = verdicts(rows, EPS)
    return replace(
        base,
        model={**base.model, "spec": "[/m]|\x1b.pt", "class": "<b>|Net"},
        rows=tuple(rows),
        layers=tuple(replace(x, name=renamed[x.name], stack="[/st|ck]\x1b", type="[/T]") for x in base.layers),
        depth=found,
        coverage=Coverage(20, 19, 19, 18, {"[/skip]\n|": "never | ran\n"}),
        notes=(*notes, Note("RS599", "[/note] |\n\x1b <b>")),
    )


def undefined_report() -> Report:
    """A report without a single number."""
    base = a_report(depth=3)
    empty = {
        "value": None,
        "min": None,
        "max": None,
        "std": None,
        "status": "undefined",
        "reason": "fewer than 4 tokens",
    }
    rows = tuple(replace(row, **empty) for row in base.rows)
    found, notes = verdicts(rows, EPS)
    return replace(base, rows=rows, depth=found, notes=notes)
