"""Entropy of attention over that of uniform attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from rankscope.measures._registry import measure
from rankscope.measures.attention_entropy import attention_entropy, uniform

if TYPE_CHECKING:
    from torch import Tensor


@measure(
    bounds=(0.0, None),
    paper="Zhou et al. 2024 (Value Residual, arXiv 2410.17897), Eq. 11; the ratio is this project's",
    formula="attention_entropy / that of attention uniform over the allowed positions",
    undefined="a weight is negative, as in signed mixers, or there is one key only",
    companions=("attention_entropy",),
)
def attention_entropy_ratio(attention: Tensor, allowed: Tensor) -> Tensor:
    """How evenly attention is spread, beside attention that is uniform over the positions it may look at.

    `attention_entropy` over the entropy that a map uniform over the allowed positions of each query would have, so that
    lengths and masks can be compared. It may pass 1: under a causal mask uniform attention favours the first tokens.

    Args:
        attention: (*batch, queries, keys) float64, the map averaged over heads, or that of one head.
        allowed: (*batch, queries, keys), true where a query may attend.

    Returns:
        (*batch), at least 0; 1 for uniform attention, NaN where either entropy is not there or the second is 0.

    Example:
        >>> import torch
        >>> causal = torch.ones(5, 5, dtype=torch.bool).tril()
        >>> round(attention_entropy_ratio(causal / causal.sum(-1, keepdim=True), causal).item(), 6)
        1.0
    """
    even = uniform(attention, allowed)[1]
    return torch.where(even > 0, attention_entropy(attention, allowed) / even, math.nan)
