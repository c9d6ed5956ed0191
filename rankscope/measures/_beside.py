"""What a value is compared with: its ceiling, the value of Gaussian data, and that of rounding alone."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from rankscope.measures._evaluate import evaluate
from rankscope.measures._forms import in_form, unit
from rankscope.spectra import spectrum
from rankscope.spectra.cpu import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from rankscope.measures._registry import Form, Measure
    from rankscope.measures._requests import Request
    from rankscope.records import Spectrum

SEED = 0
MOST_NUMBERS = 1 << 20
"""Gaussian data larger than this is not drawn as such."""
MOST_DRAWN = 1 << 20
"""All draws together are no more numbers: the values of a long matrix scatter less with every row, as 1/√rows."""


@lru_cache(maxsize=4096)
def bounds_beside(
    request: Request, rows: int, width: int, dtype: torch.dtype, tokens: int | None = None
) -> tuple[float | None, float | None, float | None]:
    """Ceiling, Gaussian reference and noise floor of a measure at one shape.

    Of a rank: the most it can be; its mean over Gaussian data of that shape in that form; and what a rank-one matrix
    uvᵀ shows once it is rounded to the dtype of the data. Of a residual (`mu_bar`, `rank_one_residual`): its upper
    bound, the Gaussian value, and 4·eps of the dtype, above which collapsed data settles. The draws come from a
    generator of their own, with a fixed seed.

    Args:
        request: the measure in its form.
        rows: tokens, or rows of a weight.
        width: features, or columns of a weight.
        dtype: the floating dtype of the data.
        tokens: for the gradient of a weight, tokens × uses, which bounds its rank; the reference then is a product of
            two Gaussian factors of that inner size.

    Returns:
        (ceiling, reference, floor), all None for a measure that is neither rank nor residual.

    Example:
        >>> from rankscope.measures import resolve
        >>> ceiling, reference, floor = bounds_beside(*resolve(["effective_rank"]), 128, 384, torch.bfloat16)
        >>> ceiling, round(reference), round(floor, 2)
        (128.0, 122, 1.13)
    """
    measure, form = request.measure, request.form
    rank = min(_free(rows, form), width)
    if not (measure.rank or measure.residual) or rank < 1:
        return None, None, None
    inner = _inner(request, rows, width, tokens)
    if _of_spectrum(measure):
        reference = _mean(measure, spectrum=_gaussian(rows, width, form, inner))
    else:
        reference = _mean(measure, tokens=_gaussian_tokens(rows, width, form))
    if measure.residual:
        return 1.0, reference, 4 * torch.finfo(dtype).eps
    return float(inner or rank), reference, _mean(measure, spectrum=_rounded_rank_one(rows, width, form, dtype))


Place = tuple["Request", int, int, torch.dtype, int | None]


def draw(places: Iterable[Place]) -> None:
    """Draw and solve what `bounds_beside` will compare with, each spectrum once, in threads.

    Args:
        places: the arguments of its calls.
    """
    jobs: dict[tuple[Any, ...], None] = {}
    for request, rows, width, dtype, tokens in places:
        measure, form = request.measure, request.form
        if (measure.rank or measure.residual) and min(_free(rows, form), width) >= 1:
            if _of_spectrum(measure):
                jobs[_gaussian, rows, width, form, _inner(request, rows, width, tokens)] = None
            if measure.rank:
                jobs[_rounded_rank_one, rows, width, form, dtype] = None
    in_threads(lambda job: job[0](*job[1:]), list(jobs))


def _of_spectrum(measure: Measure) -> bool:
    """Whether its reference is taken of the spectrum of Gaussian data, and not of the data."""
    return measure.pooled or measure.site == "weight_gradient"


def _inner(request: Request, rows: int, width: int, tokens: int | None) -> int | None:
    """The inner size of a product, where it bounds the rank."""
    rank = min(_free(rows, request.form), width)
    return tokens if tokens is not None and tokens < rank else None


def _mean(measure: Measure, **needs: Tensor | Spectrum) -> float:
    return evaluate(measure, **needs)[0].mean().item()


def _free(rows: int, form: Form) -> int:
    """Rows that centring leaves free: centred Gaussian data has the singular values of one row less."""
    return rows - 1 if form.endswith("centered") else rows


def _draws(rows: int, width: int) -> int:
    """Many for small matrices, whose values scatter; one for large ones, whose do not."""
    return max(1, min(256, (1 << 15) // min(rows, width) ** 2, MOST_DRAWN // (rows * width)))


@lru_cache(maxsize=256)
def _gaussian(rows: int, width: int, form: Form, inner: int | None) -> Spectrum:
    """Spectra of Gaussian data, or of a product of Gaussian factors of that inner size."""
    # A Gaussian matrix has the singular values of the R of its QR, whose entries are independent (Bartlett 1933): that
    # is drawn in its place. Only unit rows are drawn whole; where they are too many, their norms would hardly differ.
    rng = np.random.default_rng(SEED)
    draws = _draws(rows, width)
    if inner is not None:
        data = _triangles(rng, draws, rows, inner) @ _triangles(rng, draws, width, inner).mT
    elif form.startswith("unit") and rows * width <= MOST_NUMBERS:
        data = _gaussian_tokens(rows, width, form)
    else:
        n, m = sorted((_free(rows, form), width))
        data = _triangles(rng, draws, m, n)
    return replace(spectrum(data, method="gram64"), rows=rows, width=width)


def _triangles(rng: np.random.Generator, draws: int, m: int, n: int) -> Tensor:
    """R factors of m x n Gaussian matrices: normal above the diagonal, on it the root of χ² of m, m−1, … degrees."""
    triangles = np.triu(rng.standard_normal((draws, n, n)), 1)
    triangles[:, range(n), range(n)] = np.sqrt(rng.chisquare(np.arange(m, m - n, -1), (draws, n)))
    return torch.from_numpy(triangles)


def _gaussian_tokens(rows: int, width: int, form: Form) -> Tensor:
    """Gaussian tokens, of fewer features where there would be too many numbers: mu_bar averages √(1 − 1/N) for any."""
    return in_form(_scaled(rows, max(1, min(width, MOST_NUMBERS // rows)), form.startswith("unit")), _after(form))


@lru_cache(maxsize=2)  # raw and unit tokens of one shape: every measure of a layer asks for them
def _scaled(rows: int, width: int, to_unit: bool) -> Tensor:
    """Gaussian tokens as drawn, or of unit norm."""
    if to_unit:
        return unit(_scaled(rows, width, False))
    return torch.from_numpy(np.random.default_rng(SEED).standard_normal((_draws(rows, width), rows, width)))


def _after(form: Form) -> Form:
    """What is left to do to tokens that have been scaled already, where the form scales them."""
    return "centered" if form.endswith("centered") else "raw"


@lru_cache(maxsize=256)
def _rounded_rank_one(rows: int, width: int, form: Form, dtype: torch.dtype) -> Spectrum:
    """Spectra of rank-one matrices uvᵀ, u and v Gaussian, after rounding to a dtype."""
    # Past twice the shorter side the floor hardly rises with the longer one, which is cut where there are many numbers.
    short = min(rows, width)
    longest = max(2 * short, MOST_NUMBERS // short)
    shape = min(rows, longest), min(width, longest)
    data = in_form(_rounded(*shape, form.startswith("unit"), dtype), _after(form))
    method: Literal["gram64", "svd"] = "svd" if dtype == torch.float64 else "gram64"
    return replace(spectrum(data, method=method), rows=rows, width=width)


@lru_cache(maxsize=2)
def _rounded(rows: int, width: int, to_unit: bool, dtype: torch.dtype) -> Tensor:
    """Rank-one matrices, rounded, as drawn or with rows of unit norm."""
    if to_unit:
        return unit(_rounded(rows, width, False, dtype))
    rng, draws = np.random.default_rng(SEED), _draws(rows, width)
    exact = rng.standard_normal((draws, rows, 1)) * rng.standard_normal((draws, 1, width))
    return torch.from_numpy(exact).to(dtype).to(torch.float64)
