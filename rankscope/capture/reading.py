"""Reading: values and attention maps of later forward passes, at the places of a plan."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from torch.overrides import TorchFunctionMode

from rankscope.capture.flow import OPENED, VALUES, Steps, function_name, place, tensors
from rankscope.capture.maps import maps_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rankscope.capture.maps import AttentionMaps
    from rankscope.capture.places import AttentionPlace, Plan, ValuePlace


class Read(TorchFunctionMode):
    """Calls its observers at every attention call of a plan; changes nothing.

    Args:
        plan: the plan, whose `values` and `attention` name the calls.
        observe_values: receives the place, V_n, and V'_n, which is what attention gets; None where not asked for.
        observe_attention: receives the place and the maps; None where not asked for.
    """

    def __init__(
        self,
        plan: Plan,
        observe_values: Callable[[ValuePlace, Tensor, Tensor], None] | None,
        observe_attention: Callable[[AttentionPlace, AttentionMaps], None] | None,
    ) -> None:
        super().__init__()
        self._plan = plan
        self._observe_values = observe_values
        self._observe_attention = observe_attention
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
            if self._observe_values and (values := self._plan.values.get((where, hit))):
                tensor = list(tensors((args, kwargs)))[values.operand]
                self._observe_values(values, tensor, tensor)
            if self._observe_attention and (attention := self._plan.attention.get((where, hit))):
                self._observe_attention(attention, maps_of(name, args, kwargs))
        return func(*args, **kwargs)
