"""Reading: values and attention maps of later forward passes, at the places of a plan.

Where a model mixes its values with those of earlier layers, V'_n = λ1 V_1 + λ2 V_n, attention gets V'_n. V_n is then
followed beside it: from its own term on, before it is scaled, every view of the sum is taken of the term as well.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from rankscope.capture.flow import INPLACE, MIXING, OPENED, SCALES, SUMS, VALUES, Steps, function_name, place, tensors
from rankscope.capture.maps import maps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from torch import Tensor

    from rankscope.capture.maps import AttentionMaps
    from rankscope.capture.places import AttentionPlace, Plan, ValuePlace

Key = tuple[Steps, int]


class Read(TorchFunctionMode):
    """Calls its observers at every attention call of a plan; changes nothing.

    Args:
        plan: the plan, whose `values` and `attention` name the calls.
        values: receives the place, V_n and V'_n; None where not asked for.
        attention: receives the place and the maps; None where not asked for.
    """

    def __init__(
        self,
        plan: Plan,
        values: Callable[[ValuePlace, Tensor, Tensor], None] | None,
        attention: Callable[[AttentionPlace, AttentionMaps], None] | None,
    ) -> None:
        super().__init__()
        self._names, self._values, self._attention = plan.names, values, attention
        calls = {key: target for key, target in plan.values.items() if len(key[0]) > 1}  # the others are modules
        self._value_places = calls if values else {}
        self._attention_places = dict(plan.attention) if attention else {}
        owns = [target.own for target in self._value_places.values() if target.own]
        self._own = {(own.steps, own.hit): own.operand for own in owns}
        self._edited = plan.mixed
        self._beside: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()
        summing = owns or self._value_places.keys() - plan.attention.keys()
        self._watched = set(VALUES) | (set(SUMS) | SCALES if summing else set())
        self._hits: dict[tuple[Steps, str], int] = {}
        self._reached: set[Key] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in OPENED:
            with self:
                return OPENED[func](*args, **kwargs)
        name = function_name(func)
        key = self._key(name)
        values = self._value_places.get(key)
        if self._attention and (attention := self._attention_places.get(key)):
            self._attention(attention, maps_of(name, args, kwargs))
        operand = list(tensors((args, kwargs)))[values.operand] if values else None
        output = self._follow(key, func, name, args, kwargs) if self._own else func(*args, **kwargs)
        if values and operand is not None:  # edits, which act inside the call, have told by now what it got instead
            self._observe(values, operand)
        return output

    @property
    def wanted(self) -> bool:
        """Whether anything is to be read at all.

        Returns:
            Whether the plan names a call for an observer.
        """
        return bool(self._value_places or self._attention_places)

    def missed(self) -> Iterator[str]:
        """What to tell of attention that did not run where it was traced.

        Yields:
            Sentences.
        """
        places = self._value_places | self._attention_places
        idle = {place.layer.name for key, place in places.items() if len(key[0]) > 1 and key not in self._reached}
        for name in sorted(idle):
            yield f"{name}: in some batches its attention did not run where it was traced; they are missing there"

    def _key(self, name: str) -> Key:
        """Place and hit of an operation; one that no plan holds where nothing of it is asked."""
        if name not in self._watched or (where := place(self._names, sys._getframe(2))) is None:
            return (), 0
        hit = self._hits[where, name] = self._hits.get((where, name), -1) + 1
        self._reached.add((where, hit))
        return where, hit

    def _observe(self, target: ValuePlace, mixed: Tensor) -> None:
        value = mixed if target.own is None else self._beside.get(mixed)
        if value is None or self._values is None:
            return  # the term did not run before the call that it belongs to
        mixed = self._edited.get(mixed, mixed)
        same = value is mixed
        mixed = mixed.permute(target.order) if target.order else mixed
        value = mixed if same else value.permute(target.order) if target.order else value
        self._values(target, value, mixed)

    def _follow(self, key: Key, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        """Run an operation, and beside it the same views of V_n that it takes of V'_n."""
        operands = list(tensors((args, kwargs)))
        if key in self._own:
            own: Tensor | None = operands[self._own[key]]
        else:
            own = next((self._beside[tensor] for tensor in operands if tensor in self._beside), None)
        if own is None or MIXING.fullmatch(name):
            return func(*args, **kwargs)
        if INPLACE.fullmatch(name):
            own = own.clone()
        output = func(*args, **kwargs)
        if key in self._own or name in SUMS or name in SCALES:
            self._beside[output] = own.expand_as(output)
        elif args and args[0] in self._beside:
            for tensor, beside in zip(tensors(output), tensors(func(own, *args[1:], **kwargs)), strict=True):
                self._beside[tensor] = beside
        return output
