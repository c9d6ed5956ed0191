"""What is found of a stack of sequences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from rankscope.measures import Form

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

Need = tuple[Form, str]
OF_GRAMS = {"purity", "spectrum"}
"""Needs that a Gram matrix is made for."""


@dataclass(slots=True)
class Moments:
    """Of a stack of sequences of one shape; every tensor has the batch first.

    `finite` (batch,) whether every entry is; `norms` (batch, rows) of the tokens; `count` (batch,) of those that are
    not zero; `common` (batch, width) the mean of the unit tokens; `found` what was asked for, by form and need;
    `waiting` Gram matrices (batch, n, n) whose eigenvalues are still to be had, by form; `failed` what could not be
    had, and why.

    The needs: `norms` (batch, rows), `size` ‖Y‖_F, `spread` ‖PY‖_F, `purity` Σσ⁴/(Σσ²)², each (batch,), and
    `spectrum`, singular values and bounds on their errors (batch, 2, n).
    """

    rows: int
    width: int
    finite: Tensor
    norms: Tensor
    count: Tensor
    common: Tensor
    found: dict[Need, Tensor] = field(default_factory=dict)
    waiting: dict[Form, Tensor] = field(default_factory=dict)
    failed: dict[Need, str] = field(default_factory=dict)


def bytes_of(rows: int, width: int, wanted: Iterable[Need]) -> int:
    """The memory that finding the moments of one sequence takes while it is under way.

    Args:
        rows: its tokens.
        width: their features.
        wanted: forms and needs.

    Returns:
        Bytes, rather too many than too few.

    Example:
        >>> bytes_of(1000, 10, [("raw", "norms")])
        160000
    """
    wanted = set(wanted)
    forms = len({form for form, _ in wanted} - {"raw"})
    grams = len({form for form, need in wanted if need in OF_GRAMS})
    solver = 3 if any(need == "spectrum" for _, need in wanted) else 1  # works on copies
    n = min(rows, width)
    copies = 2 + 2 * forms + (solver if grams else 0)  # each form, what it is made from, and the SVD in its place
    return 8 * (copies * rows * width + (grams + solver if grams else 0) * n * n)


def joined(parts: Sequence[Moments]) -> Moments:
    """The moments of several stacks of sequences as those of one.

    Args:
        parts: of equal rows and width, for which the same was asked.

    Returns:
        The moments, the batches one after the other.
    """
    first = parts[0]
    return Moments(
        first.rows,
        first.width,
        finite=torch.cat([part.finite for part in parts]),
        norms=torch.cat([part.norms for part in parts]),
        count=torch.cat([part.count for part in parts]),
        common=torch.cat([part.common for part in parts]),
        found={key: torch.cat([part.found[key] for part in parts]) for key in first.found},
        waiting={form: torch.cat([part.waiting[form] for part in parts]) for form in first.waiting},
        failed={need: reason for part in parts for need, reason in part.failed.items()},
    )
