"""Accuracy: the effective rank that a probe gives against a float64 SVD of the same float32 data, family by family."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rankscope.measures import MEASURES
from rankscope.moments import moments, solve
from rankscope.records import Spectrum

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cases import family as family

if TYPE_CHECKING:
    from rankscope.moments import Need
    from rankscope.spectra.engine import Method

NEED: Need = ("raw", "spectrum")
LIMIT, LIMIT_EQUAL = 1e-6, 2e-5
SHAPES = ((512, 768), (128, 384))
FAMILIES = {
    "gaussian": "Gaussian",
    "inverse": "σ_i = 1/i",
    "inverse_square": "σ_i = 1/i²",
    "exponential": "exponential to 1e-8",
    "nearly_equal_3": "equal tokens + 1e-3 noise",
    "nearly_equal_6": "equal tokens + 1e-6 noise",
    "deficient": "rank a quarter of the least side, and one",
    "outlier_features": "1 in 20 features × 1000",
    "equal": "all tokens equal",
}


def effective_rank(sigma: torch.Tensor, rows: int, width: int) -> float:
    """Of singular values (n,)."""
    sigma = sigma.double()
    spectrum = Spectrum(sigma, torch.zeros_like(sigma), rows, width)
    return float(MEASURES["effective_rank"].function(spectrum))


def singular_values(tokens: torch.Tensor, method: Method = "auto") -> torch.Tensor:
    """Of (tokens, width), as a probe takes them, on any device."""
    stack = moments(tokens.unsqueeze(0), [NEED], method)
    solve([stack])
    return stack.found[NEED][0, 0].cpu()


def accuracy(shapes: tuple[tuple[int, int], ...] = SHAPES) -> list[dict[str, Any]]:
    """Relative errors of the effective rank.

    Args:
        shapes: tokens and width of the matrices.

    Returns:
        Of each family and shape its name, the true value, the errors of a probe (`auto`), of its route by the Gram
        matrix alone (`gram64`) and of a float32 SVD (`svd32`), and the limit for the first.
    """
    return [_errors(name, rows, width) for rows, width in shapes for name in FAMILIES]


def _errors(name: str, rows: int, width: int) -> dict[str, Any]:
    tokens = family(name, rows, width).float()
    true = effective_rank(torch.linalg.svdvals(tokens.double()), rows, width)
    found = {"svd32": torch.linalg.svdvals(tokens)}
    methods: tuple[Method, ...] = ("auto", "gram64")
    for method in methods:
        found[method] = singular_values(tokens, method)
    errors = {way: abs(effective_rank(sigma, rows, width) / true - 1) for way, sigma in found.items()}
    limit = LIMIT_EQUAL if name == "equal" else LIMIT
    return {"family": FAMILIES[name], "rows": rows, "width": width, "true": true, **errors, "limit": limit}
