"""The value of a measure, and how far rounding can have moved it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from rankscope.measures._forms import norm
from rankscope.measures._requests import Request
from rankscope.records import Spectrum

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rankscope.measures._registry import Measure


def evaluate(request: Request | Measure, **needs: Tensor | Spectrum) -> tuple[Tensor, Tensor | None]:
    """A measure's values, and for one of singular values a bound on their absolute numerical error.

    The bound is Σ |∂f/∂σ_i|·dσ_i with the derivative at max(σ_i, dσ_i), for the logarithm of an entropy has no finite
    slope at 0; and no less than the change of f when all σ_i move to either end of their intervals, which shows the
    jumps of a count. It works inside `torch.inference_mode` and `no_grad`.

    Args:
        request: a measure in a form and scope, or the measure itself.
        needs: what `request.needs` names, already in the form asked for: tokens and the like (*batch, tokens, width)
            float64, or spectra of such. In the pooled scope a spectrum stands in for tokens.

    Returns:
        Values (*batch) float64, NaN where undefined; and their error bounds (*batch), or None for a measure that does
        not go through singular values (its rounding is of the order of 1e-15). Of a vector both are (*batch, n).

    Example:
        >>> from rankscope.measures import MEASURES
        >>> from rankscope.spectra import spectrum
        >>> value, error = evaluate(MEASURES["effective_rank"], spectrum=spectrum(torch.eye(8)))
        >>> round(value.item(), 9), error.item() < 1e-9
        (8.0, True)
    """
    measure = request.measure if isinstance(request, Request) else request
    spectrum = next((need for need in needs.values() if isinstance(need, Spectrum)), None)
    if spectrum is None:
        return measure.function(**needs), None

    def at(sigma: Tensor) -> Tensor:
        if measure.needs == ("tokens",):
            return _of_singular_values(measure, sigma)
        return measure.function(replace(spectrum, singular_values=sigma))

    sigma = spectrum.singular_values
    value = at(sigma)
    across = _across(at, sigma, spectrum.error, value)
    if measure.vector:  # each number grows with its own singular value: the ends of the interval are the bound
        return value, across
    return value, torch.maximum(_first_order(at, sigma, spectrum.error), across)


def _of_singular_values(measure: Measure, sigma: Tensor) -> Tensor:
    """A measure of tokens, of any matrix with these singular values; of diag(σ), where its moments do not tell it."""
    if measure.of_moments is not None and set(measure.moments or ()) == {"purity"}:
        squares = (sigma / norm(sigma, -1).unsqueeze(-1)).square()
        return measure.of_moments(purity=squares.square().sum(-1))
    return measure.function(torch.diag_embed(sigma))


def _across(at: Callable[[Tensor], Tensor], sigma: Tensor, error: Tensor, value: Tensor) -> Tensor:
    """How far the value is from that at either end of the intervals of all singular values."""
    ends = torch.stack([at(sigma + error), at((sigma - error).clamp(min=0))])
    return (ends - value).abs().amax(0)


def _first_order(at: Callable[[Tensor], Tensor], sigma: Tensor, error: Tensor) -> Tensor:
    """Σ |∂f/∂σ_i|·dσ_i."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        point = torch.maximum(sigma, error).clone().requires_grad_()
        there = at(point)
        slope = torch.autograd.grad(there.sum(), point)[0] if there.requires_grad else torch.zeros_like(point)
    return torch.where(error > 0, slope.abs() * error, 0.0).sum(-1)
