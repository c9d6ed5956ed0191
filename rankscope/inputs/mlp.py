"""MLP: a model that treats every row alone, so that a matrix of inputs is one sequence of tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (
    nn.Linear,
    nn.Identity,
    nn.Flatten,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.dropout._DropoutNd,
)


def is_mlp(model: nn.Module) -> bool:
    """Whether a model is made of linear maps, activations, norms and dropout alone.

    Args:
        model: any module.

    Returns:
        False also where a module that has children holds parameters of its own.

    Example:
        >>> is_mlp(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 2)))
        True
    """
    modules = list(model.modules())
    leaves = [module for module in modules if not any(module.children())]
    bare = all(not module._parameters for module in modules if any(module.children()))
    return bare and any(isinstance(leaf, nn.Linear) for leaf in leaves) and all(map(_is_plain, leaves))


def _is_plain(leaf: nn.Module) -> bool:
    activation = type(leaf).__module__ == "torch.nn.modules.activation" and not isinstance(leaf, nn.MultiheadAttention)
    return activation or isinstance(leaf, _PLAIN)


def rows_apart(output: Any, changed: Any) -> bool:
    """Whether two outputs differ in their first row alone, after the first row of the inputs was changed.

    Args:
        output: of the inputs.
        changed: of the inputs with another first row.

    Returns:
        False also where the first tensors of the outputs have no rows to compare.

    Example:
        >>> rows_apart(torch.zeros(3, 2), torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]))
        True
    """
    pair = [
        next((t for t in torch.utils._pytree.tree_leaves(o) if isinstance(t, Tensor) and t.is_floating_point()), None)
        for o in (output, changed)
    ]
    first, second = pair
    if first is None or second is None or first.ndim < 1 or first.shape != second.shape or first.shape[0] < 2:
        return False
    return bool(torch.allclose(first[1:], second[1:], atol=1e-5, rtol=1e-4, equal_nan=True))
