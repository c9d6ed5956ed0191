"""The pooled spectrum: one matrix of all tokens of all sequences, never held in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rankscope.records import Spectrum
from rankscope.spectra.engine import eigenvalues, roots
from rankscope.spectra.reference import SOLVER_FAILED, svd

if TYPE_CHECKING:
    from torch import Tensor


class Pooled:
    """Sufficient statistics of all tokens seen so far; two of them merge into one exactly.

    Kept are the count, the scatter Σ(y − mean)(y − mean)ᵀ, width × width, and the mean token as its `offset` from the
    first token, the `origin`. A piece, or another `Pooled`, is added by the update of Chan, Golub & LeVeque (1983):
    scatter += its scatter + (n_a n_b / n)·δδᵀ, δ the difference of the means. Only positive matrices are added, so
    nothing cancels where the first token is a hundred times as large as the others; and since means are kept as
    offsets, nothing is lost either where tokens differ by 1e-6 of their size.

    Example:
        >>> tokens = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
        >>> pooled = Pooled()
        >>> pooled.add(tokens[:1])
        >>> pooled.add(tokens[1:])
        >>> pooled.spectrum(centered=False).singular_values.round(decimals=9).tolist()
        [4.0, 3.0]
    """

    def __init__(self) -> None:
        self.count = 0
        self.origin = self.offset = torch.empty(0, dtype=torch.float64)
        self.scatter = torch.empty(0, 0, dtype=torch.float64)

    @classmethod
    def of(cls, count: int, origin: Tensor, offset: Tensor, scatter: Tensor) -> Pooled:
        """Sums that were kept.

        Args:
            count: how many tokens they are of.
            origin: the first one (width,), float64.
            offset: their mean less the first (width,), float64.
            scatter: Σ(y − mean)(y − mean)ᵀ (width, width), float64.

        Returns:
            The pool, which owns them.
        """
        pool = cls()
        pool.count, pool.origin, pool.offset, pool.scatter = count, origin, offset, scatter
        return pool

    def add(self, tokens: Tensor) -> None:
        """Add tokens.

        Args:
            tokens: (n, width), any floating dtype, finite, on any device; the first ones decide where the sums live.

        Raises:
            TypeError: the tokens are not of a floating dtype.
            ValueError: not two dimensions, another width than before, or a value that is not finite.
        """
        if not tokens.is_floating_point():
            raise TypeError(f"expected tokens of a floating dtype, got {tokens.dtype}")
        if tokens.ndim != 2:
            raise ValueError(f"expected tokens (n, width), got shape {tuple(tokens.shape)}")
        tokens = tokens.detach().cpu() if tokens.device.type == "mps" else tokens.detach()
        if len(tokens):
            with torch.inference_mode(False):  # the sums are added to in place, whatever mode comes next
                self._add(tokens)

    def _add(self, tokens: Tensor) -> None:
        piece = Pooled()
        piece.count, piece.origin = len(tokens), tokens[0].to(torch.float64, copy=True)
        shifted = tokens - piece.origin  # in float64
        piece.offset = shifted.mean(0)
        if not (bool(torch.isfinite(piece.offset).all()) or bool(torch.isfinite(tokens).all())):
            raise ValueError("expected finite tokens, got NaN or infinity")
        shifted -= piece.offset
        piece.scatter = shifted.mT @ shifted
        self._take(piece, piece.scatter)

    def merge(self, other: Pooled) -> None:
        """Add all tokens that another one has seen.

        Args:
            other: sums over tokens of the same width; it is left as it is.

        Raises:
            ValueError: the widths differ.
        """
        if other.count:
            with torch.inference_mode(False):
                self._take(other, other.scatter if self.count else other.scatter.clone())

    def _take(self, other: Pooled, scatter: Tensor) -> None:
        if not self.count:
            self.count, self.origin, self.offset, self.scatter = other.count, other.origin, other.offset, scatter
            return
        if len(other.origin) != len(self.origin):
            raise ValueError(f"expected tokens of width {len(self.origin)}, got {len(other.origin)}")
        total = self.count + other.count
        delta = (other.origin.to(self.origin) - self.origin) + (other.offset.to(self.origin) - self.offset)
        self.scatter += scatter.to(self.origin.device)
        self.scatter.addr_(delta, delta, alpha=self.count * other.count / total)
        self.offset = self.offset + delta * (other.count / total)
        self.count = total

    def spectrum(self, centered: bool) -> Spectrum:
        """Singular values of the (count, width) matrix of all tokens.

        Args:
            centered: whether the mean of all tokens is taken off first.

        Returns:
            The spectrum, rows being the number of tokens. `error` counts the rounding of the sums and of the solver.

        Raises:
            ValueError: no token was added.
            CaptureError: both solvers failed.
        """
        if not self.count:
            raise ValueError("expected at least one token, got none")
        width, mean = len(self.origin), self.origin + self.offset
        moment = self.scatter.clone() if centered else torch.addr(self.scatter, mean, mean, alpha=self.count)
        scale = moment.diagonal().amax()
        scale = torch.where(scale > 0, scale, 1.0)
        moment = moment.div_(scale).unsqueeze(0)
        try:
            values = eigenvalues(moment)
        except SOLVER_FAILED:
            values = svd(moment)[0]  # of a positive matrix, the eigenvalues
        sigma, error = roots(values[:, : min(self.count, width)], max(self.count, width))
        root = scale.sqrt()
        return Spectrum(sigma[0] * root, error[0] * root, self.count, width)
