"""What is done to tokens before they are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import torch

from rankscope.measures._registry import Form

if TYPE_CHECKING:
    from torch import Tensor


def in_form(tokens: Tensor, form: Form) -> Tensor:
    """Tokens raw, centred over the sequence, scaled to unit norm, or first scaled and then centred.

    A token of huge norm (an attention sink) drives the raw spectrum to rank one although all others stay rich; the
    unit forms do not see it. Centring takes off the mean token.

    Args:
        tokens: (*batch, tokens, width) float64. For the unit forms no token may be zero.
        form: raw, centered, unit or unit_centered.

    Returns:
        The same shape.

    Raises:
        ValueError: unknown form.

    Example:
        >>> in_form(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), "unit").tolist()
        [[0.6..., 0.8...], [0.0, 1.0]]
    """
    if form not in get_args(Form):
        raise ValueError(f"form is one of {get_args(Form)}, got {form!r}")
    if form.startswith("unit"):
        tokens = unit(tokens)
    return center(tokens) if form.endswith("centered") else tokens


def center(tokens: Tensor) -> Tensor:
    """PY, tokens minus their mean; about the first one, so that equal tokens give exactly zero.

    Args:
        tokens: (*batch, tokens, width).

    Returns:
        The same shape.

    Example:
        >>> center(torch.full((3, 2), 0.1)).tolist()
        [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """
    shifted = tokens - tokens[..., :1, :]
    return shifted - shifted.mean(-2, keepdim=True)


def unit(tokens: Tensor) -> Tensor:
    """Tokens over their norms; NaN for a zero token.

    Args:
        tokens: (*batch, tokens, width).

    Returns:
        The same shape.

    Example:
        >>> unit(torch.tensor([[0.0, 1e30]])).tolist()
        [[0.0, 1.0]]
    """
    return tokens / norm(tokens, -1).unsqueeze(-1)


def norm(values: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Euclidean norm; where squares would leave the range, the largest magnitude is divided out first.

    Args:
        values: any shape.
        dim: the dimensions to reduce.

    Returns:
        The shape without those dimensions; NaN where a value is NaN or infinite.

    Example:
        >>> norm(torch.tensor([0.0, 1e200, 0.0], dtype=torch.float64), 0).item()
        1e+200
    """
    plain: Tensor = torch.linalg.vector_norm(values, dim=dim)
    sure = in_range(plain)
    if bool(sure.all()):
        return plain
    # The same number as the norm of infinite order, which torch takes many times longer over.
    largest = torch.maximum(values.amax(dim, keepdim=True), -values.amin(dim, keepdim=True))
    scale = torch.where(largest > 0, largest, 1.0)
    relative: Tensor = torch.linalg.vector_norm(values / scale, dim=dim)
    return torch.where(sure, plain, relative * largest.squeeze(dim))


def in_range(norms: Tensor) -> Tensor:
    """Where squares, and products of two of them, stay in the range of the dtype; not so of a zero norm.

    Args:
        norms: any shape.

    Returns:
        The same shape, boolean.

    Example:
        >>> in_range(torch.tensor([1.0, 1e30])).tolist()
        [True, False]
    """
    limits = torch.finfo(norms.dtype)
    inside: Tensor = (norms > limits.tiny**0.25) & (norms < limits.max**0.25)
    return inside
