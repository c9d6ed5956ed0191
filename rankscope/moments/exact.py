"""Moments straight from their definitions, sequence by sequence: the slow twin, and the way for float64 data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rankscope.errors import CaptureError
from rankscope.measures import center, in_form, norm, unit
from rankscope.moments.found import Moments
from rankscope.spectra import spectrum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from rankscope.moments.found import Need
    from rankscope.spectra.engine import Method


def exact(tokens: Tensor, wanted: Iterable[Need], method: Method) -> Moments:
    """The same of one sequence, each number straight from its definition: the slow twin.

    Args:
        tokens: (rows, width), of a floating dtype.
        wanted: forms and needs.
        method: see `spectra.spectrum`.

    Returns:
        The moments, with a batch of one.

    Example:
        >>> found = exact(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), [("raw", "spread"), ("raw", "size")], "svd").found
        >>> {need: round(value.item(), 3) for (_, need), value in found.items()}
        {'spread': 3.536, 'size': 5.0}
    """
    norms = norm(tokens.double(), -1)
    directed, finite = norms > 0, torch.isfinite(tokens).all()
    here = torch.where(finite, tokens.double(), 0.0)
    found: dict[Need, Tensor] = {}
    failed: dict[Need, str] = {}
    for form, need in wanted:
        if need == "norms":
            found[form, need] = norms
            continue
        y = in_form(here[directed] if form.startswith("unit") else here, form)
        try:
            found[form, need] = _FOUND[need](y, min(tokens.shape), method, tokens.dtype)
        except CaptureError as error:
            found[form, need] = y.new_full((2, min(tokens.shape)), torch.nan)
            failed[form, need] = error.headline
    rows, width = tokens.shape
    return Moments(
        rows,
        width,
        finite=finite.unsqueeze(0),
        norms=norms.unsqueeze(0),
        count=directed.sum().unsqueeze(0),
        common=unit(here[directed]).mean(0, keepdim=True),
        found={key: value.unsqueeze(0) for key, value in found.items()},
        failed=failed,
    )


def _size(y: Tensor, *_: Any) -> Tensor:
    return norm(y, (-2, -1)) if len(y) else y.new_zeros(())


def _spread(y: Tensor, *_: Any) -> Tensor:
    return _size(center(y) if len(y) else y)


def _purity(y: Tensor, *_: Any) -> Tensor:
    scaled = y / _size(y)
    return (scaled @ scaled.mT if len(y) <= y.shape[-1] else scaled.mT @ scaled).square().sum()


def _spectrum(y: Tensor, most: int, method: Method, dtype: torch.dtype) -> Tensor:
    """Singular values and bounds on their errors, (2, most), zeros where zero tokens were left out."""
    pair = y.new_zeros(2, most)
    if len(y):
        solved = spectrum(y, method=method, source_dtype=dtype)
        pair[:, : min(y.shape)] = torch.stack([solved.singular_values, solved.error])
    return pair


_FOUND: dict[str, Callable[..., Tensor]] = {"size": _size, "spread": _spread, "purity": _purity, "spectrum": _spectrum}
