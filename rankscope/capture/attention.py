"""Attention: the values V_n = H_{n−1} W^V that enter attention at each layer, read while the model runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from torch.overrides import TorchFunctionMode

from rankscope.capture.flow import OPENED, PRODUCTS, VALUES, Steps, function_name, place, tensors
from rankscope.capture.layout import Axes, Unmeasurable

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from rankscope.capture.plan import Plan, ValuePlace


class ReadValues(TorchFunctionMode):
    """Calls `observe(place, values)` at every attention call of a plan; changes nothing.

    Args:
        plan: the plan, whose `values` name the calls.
        observe: receives the place and the tensor of values as attention got it.
    """

    def __init__(self, plan: Plan, observe: Callable[[ValuePlace, Tensor], None]) -> None:
        super().__init__()
        self._plan = plan
        self._observe = observe
        self._hits: dict[Steps, int] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in OPENED:
            with self:
                return OPENED[func](*args, **kwargs)
        name = function_name(func)
        if name in VALUES and (where := place(self._plan.names, sys._getframe(1))):
            hit = self._hits[where] = self._hits.get(where, -1) + 1
            if target := self._plan.values.get((where, hit)):
                operands = list(tensors((args, kwargs)))
                self._observe(target, operands[1 if name in PRODUCTS else 2])
        return func(*args, **kwargs)


def arrange_values(values: Tensor, repeated: torch.Size | None, where: Axes, tokens: int | None) -> Tensor:
    """Bring values into the shape (batch, tokens, heads · head width), heads concatenated.

    Heads that were repeated for grouped queries are taken once, so that each key-value head counts as it is.

    Args:
        values: (batch, heads, tokens, width), (batch · heads, tokens, width) or (batch, tokens, width).
        repeated: the shape before heads were repeated, or None.
        where: the axes of the batch.
        tokens: the tokens of the block's own output, where known.

    Returns:
        Values of shape (batch, tokens, width).

    Raises:
        Unmeasurable: the tokens of the values are not those of the block.

    Example:
        >>> import torch
        >>> arrange_values(torch.zeros(2, 4, 16, 8), None, Axes(2, 16, "btd"), 16).shape
        torch.Size([2, 16, 32])
    """
    shape = tuple(values.shape)
    if values.ndim == 3 and shape[0] != where.batch and where.batch and shape[0] % where.batch == 0:
        values = values.reshape(where.batch, -1, *shape[1:])
    if values.ndim == 3:
        values = values.unsqueeze(1)
    if values.ndim != 4 or values.shape[0] != where.batch or (tokens is not None and values.shape[2] != tokens):
        raise Unmeasurable(f"its values have shape {shape}: their tokens are not those of the block")
    if repeated is not None and len(repeated) == 5 and repeated[0] == values.shape[0] and repeated[2] == 1:
        values = values.reshape(*repeated[:2], -1, *values.shape[2:])[:, :, 0]
    return values.transpose(1, 2).flatten(2)
