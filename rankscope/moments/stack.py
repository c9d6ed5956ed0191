"""One stack of sequences, and what is made of it, each once: norms, forms and Gram matrices."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch

from rankscope.measures import center
from rankscope.spectra import cpu, cuda

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.measures import Form

LEFT = 1e-4
"""Share of its squared size that centring must leave for a moment to be taken from the Gram that is not centred."""


class Stack:
    """Sequences of equal length (batch, rows, width) in float64, and what is made of them, each once.

    Args:
        tokens: the sequences.
        ahead: whether no number is looked at, since a device would have to be waited for.
    """

    def __init__(self, tokens: Tensor, *, ahead: bool) -> None:
        self._ahead = ahead
        self.tokens = tokens.double()
        self.norms: Tensor = torch.linalg.vector_norm(self.tokens, dim=-1)
        self.finite = torch.isfinite(self.norms).all(-1)
        if not (ahead or bool(self.finite.all())):  # what is found of it is not used
            self.tokens, self.norms = self.tokens.new_zeros(self.tokens.shape), torch.zeros_like(self.norms)
        self.directed = self.norms > 0
        self.count = self.directed.sum(-1)
        self.inverse = torch.where(self.directed, 1 / self.norms, 0.0)
        self.common = torch.einsum("bt,btd->bd", self.inverse, self.tokens) / self.count.unsqueeze(-1)
        self.plain = not ahead and bool(self.directed.all())
        self._centered: dict[Form, Tensor] = {}
        self._grams: dict[Form, Tensor] = {}
        self._spreads: dict[Form, Tensor] = {}

    @cached_property
    def unit(self) -> Tensor:
        """Tokens of unit norm; zero ones stay."""
        return self.tokens * self.inverse.unsqueeze(-1)

    @property
    def wide(self) -> bool:
        """Whether the Gram is that of the tokens."""
        return self.tokens.shape[-2] <= self.tokens.shape[-1]

    def formed(self, form: Form) -> Tensor:
        """The tokens in a form."""
        if form.endswith("centered"):
            return self.centered(_plain(form))
        return self.unit if form == "unit" else self.tokens

    def centered(self, form: Form) -> Tensor:
        """The tokens of a form without their mean; of the unit form zero ones stay zero."""
        if form not in self._centered:
            self._centered[form] = center(self.tokens) if form == "raw" else self._centered_unit()
        return self._centered[form]

    def _centered_unit(self) -> Tensor:
        if self.plain or not self.unit.shape[1]:
            return center(self.unit)
        mask = self.directed.unsqueeze(-1)
        first = self.unit.gather(1, mask.int().argmax(1, keepdim=True).expand(-1, 1, self.unit.shape[-1]))
        shifted = torch.where(mask, self.unit - first, 0.0)
        mean = shifted.sum(1, keepdim=True) / self.count[:, None, None]
        return torch.where(mask, shifted - mean, 0.0)

    def gram(self, form: Form) -> Tensor:
        """The Gram matrix of the smaller side of a form."""
        if form not in self._grams:
            self._grams[form] = self._gram(form)
        return self._grams[form]

    def _gram(self, form: Form) -> Tensor:
        if form == "unit" and self.wide:
            return self.gram("raw") * self.inverse.unsqueeze(-1) * self.inverse.unsqueeze(-2)
        stack = self.formed(form)
        if not self._ahead:
            return cpu.shared_grams(stack)
        return torch.where(self.finite[:, None, None], cuda.grams(stack), 0.0)  # a solver may fail on all for one

    def find(self, form: Form, need: str) -> Tensor:
        """One of `norms`, `size`, `spread`, `purity`."""
        if need == "norms":
            return self.norms
        size: Tensor = self._spread(form) if need == "spread" or form.endswith("centered") else self._size(form)
        if need != "purity":
            return size
        share: Tensor = _frobenius(self._for_purity(form)) / size.square()
        return share.square()

    def _size(self, form: Form) -> Tensor:
        return _frobenius(self.norms.unsqueeze(-1)) if _plain(form) == "raw" else self.count.double().sqrt()

    def _spread(self, form: Form) -> Tensor:
        """‖PY‖_F, from the means of the Gram matrix where they show enough left."""
        plain = _plain(form)
        if plain not in self._spreads:
            self._spreads[plain] = self._spread_of(plain)
        return self._spreads[plain]

    def _spread_of(self, plain: Form) -> Tensor:
        if not self._by_means:
            return _frobenius(self.centered(plain))
        square = self._size(plain).square()
        left = square - self.gram(plain).sum((-2, -1)) / self.tokens.shape[-2]
        enough = left > LEFT * square
        if bool(enough.all()):
            return left.sqrt()
        return torch.where(enough, left.sqrt(), _frobenius(self.centered(plain)))

    def _for_purity(self, form: Form) -> Tensor:
        """The Gram matrix; the centred one by taking off the means of rows and columns, where enough is left."""
        plain = _plain(form)
        if not form.endswith("centered") or not self._by_means:
            return self.gram(form)
        enough = self._spread(form).square() > LEFT * self._size(plain).square()
        gram = self.gram(plain)
        means = gram.mean(-1, keepdim=True)
        centered = gram - means - means.mT + means.mean(-2, keepdim=True)
        return centered if bool(enough.all()) else torch.where(enough[:, None, None], centered, self.gram(form))

    @property
    def _by_means(self) -> bool:
        """Whether centring may be left to the Gram matrix: of sequences that are wide, without zero tokens.

        It does not ask whether a Gram is there already, so that a number is the same whatever else was asked for.
        """
        return self.plain and self.wide


def _frobenius(matrices: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(matrices, dim=(-2, -1))
    return size


def _plain(form: Form) -> Form:
    """The form before centring."""
    return "unit" if form.startswith("unit") else "raw"
