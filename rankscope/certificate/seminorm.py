"""The measured seminorm certificate: what one skip keeps of mu, for any branch at all and without a norm.

mu is a seminorm. So for Y' = λY + F, whatever F is,

    | |λ|·mu(Y) − mu(F) | ≤ mu(Y') ≤ |λ|·mu(Y) + mu(F),

and with ρ = mu(F)/mu(Y) and c = ⟨PY, PF⟩/(mu(Y)·mu(F)) it holds that mu(Y') ≥ √a·mu(Y) exactly when
λ² + 2λρc + ρ² ≥ a; |λ| ≥ √a + ρ suffices for any c, and is needed only where c = −sign λ. mu alone is bounded so: for
mu_bar the norms of Y and F count too [derived]. F is that of the measured run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankscope.measures import center, norm

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sizes:
    """Y and F of one sequence: mu and Frobenius norm of each, and ⟨PY, PF⟩."""

    mu: float
    mu_branch: float
    norm: float
    norm_branch: float
    inner: float

    @property
    def rho(self) -> float:
        """ρ = mu(F)/mu(Y); NaN where mu(Y) is 0."""
        return self.mu_branch / self.mu if self.mu else math.nan

    @property
    def cosine(self) -> float:
        """c, −1 to 1; 0 where F adds nothing to any difference of tokens."""
        size = self.mu * self.mu_branch
        return max(-1.0, min(1.0, self.inner / size)) if size else 0.0


def sizes(tokens: Tensor, branch: Tensor) -> Sizes:
    """Measure what the certificate is made of.

    Args:
        tokens: Y (tokens, width) float64.
        branch: F, of the same shape.

    Returns:
        The numbers.

    Example:
        >>> import torch
        >>> found = sizes(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[0.5, 1.0], [-0.5, 1.0]]))
        >>> found.rho, round(found.cosine, 6)
        (0.5, 1.0)
    """
    apart, moved = center(tokens), center(branch)
    numbers = (norm(apart, (-2, -1)), norm(moved, (-2, -1)), norm(tokens, (-2, -1)), norm(branch, (-2, -1)))
    mu, mu_branch, size, size_branch = (number.item() for number in numbers)
    return Sizes(mu, mu_branch, size, size_branch, (apart * moved).sum().item())


def kept(lam: float, found: Sizes) -> float:
    """The fraction of mu that Y' = λY + F keeps, √(λ² + 2λρc + ρ²) = mu(Y')/mu(Y).

    Args:
        lam: λ.
        found: of Y and F.

    Returns:
        At least 0; NaN where mu(Y) is 0.

    Example:
        >>> kept(1.0, Sizes(2.0, 1.0, 3.0, 1.0, -2.0))
        0.5
    """
    return math.sqrt(max(0.0, lam**2 + 2 * lam * found.rho * found.cosine + found.rho**2)) if found.mu else math.nan


def mu_range(lam: float, found: Sizes) -> tuple[float, float]:
    """The ends between which mu(λY + F) lies, whichever way F points.

    Args:
        lam: λ.
        found: of Y and F.

    Returns:
        Least and largest.
    """
    skip = abs(lam) * found.mu
    return abs(skip - found.mu_branch), skip + found.mu_branch


def mu_bar_range(lam: float, found: Sizes) -> tuple[float, float]:
    """The ends between which mu_bar(λY + F) lies, whichever way F points.

    Args:
        lam: λ.
        found: of Y and F.

    Returns:
        Least and largest, 0 to 1; NaN where Y and F are zero.

    Example:
        >>> mu_bar_range(2.0, Sizes(1.0, 0.5, 1.0, 1.0, 0.0))
        (0.5, 1.0)
    """
    low, high = mu_range(lam, found)
    skip = abs(lam) * found.norm
    most, least = skip + found.norm_branch, abs(skip - found.norm_branch)
    if not most > 0:
        return math.nan, math.nan
    return low / most, min(1.0, high / least) if least else 1.0


def smallest_lambda(found: Sizes, a: float, sign: float = 1.0) -> float:
    """The least |λ| from which on mu(λY + F) ≥ √a·mu(Y) holds, for F as it is.

    Args:
        found: of Y and F.
        a: at least 0.
        sign: of λ.

    Returns:
        The larger root of λ² + 2λρc + ρ² = a, 0 where it holds from there on; NaN where mu(Y) is 0.

    Example:
        >>> smallest_lambda(Sizes(2.0, 1.0, 3.0, 1.0, -2.0), 0.81)
        1.4
    """
    if not found.mu:
        return math.nan
    along = found.rho * found.cosine * (1.0 if sign >= 0 else -1.0)
    under = a - found.rho**2 * (1 - found.cosine**2)
    return max(0.0, math.sqrt(under) - along) if under >= 0 else 0.0
