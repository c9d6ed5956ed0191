"""Watch: hooks on the modules of a plan, and whether they ran as often as when the model was traced."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from rankscope.capture.flow import tensors
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from rankscope.capture.places import Place, Plan


@contextlib.contextmanager
def hooked(places: Sequence[Place], observe: Callable[[Place, Tensor], None]) -> Iterator[list[Watch]]:
    """Hooks at every place; they are gone afterwards, whatever happened.

    Args:
        places: module calls.
        observe: receives each place and its activation, inside the hook.

    Yields:
        The watches, one for each module.
    """
    by_module: dict[nn.Module, list[Place]] = {}
    for place in places:
        by_module.setdefault(place.module, []).append(place)
    watches = [Watch(its_places, observe) for its_places in by_module.values()]
    handles: list[RemovableHandle] = []
    try:
        for module, watch in zip(by_module, watches, strict=True):
            handles.append(module.register_forward_pre_hook(watch.enter, with_kwargs=True))
            handles.append(module.register_forward_hook(watch.leave))
        yield watches
    finally:
        for handle in handles:
            handle.remove()


def recounted(watches: Sequence[Watch], plan: Plan) -> Iterator[str]:
    """What to tell of modules that ran more or less often than when the model was traced.

    Args:
        watches: of a finished forward pass.
        plan: the plan, which knows how often each module ran.

    Yields:
        Sentences.
    """
    for watch in watches:
        traced, name = plan.calls.get(watch.name, watch.ran), display_name(watch.name or "the model")
        if watch.ran > traced:
            yield f"{name} ran more often in some batches than the {traced} × of its trace: the rest is not measured"
        elif watch.ran < traced:
            yield f"{name} ran less often in some batches than the {traced} × of its trace: its later calls are missing"


class Watch:
    """The two hooks of one module; a module that is called several times is told apart by its call number."""

    def __init__(self, places: list[Place], observe: Callable[[Place, Tensor], None]) -> None:
        self._entering = {place.call: place for place in places if place.entering}
        self._leaving = {place.call: place for place in places if not place.entering}
        self._observe = observe
        self._begun = self._ended = -1
        self.name = places[0].module_name

    @property
    def ran(self) -> int:
        """How often the module ran.

        Returns:
            The number of calls that ended.
        """
        return self._ended + 1

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook."""
        del module
        self._begun += 1
        if place := self._entering.get(self._begun):
            self._seen(place, (args, kwargs), place.stream)

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Forward hook."""
        del module, args
        self._ended += 1
        if place := self._leaving.get(self._ended):
            self._seen(place, output, 0)

    def _seen(self, place: Place, data: Any, number: int) -> None:
        for index, tensor in enumerate(tensors(data)):
            if index == number:
                with torch._C.DisableTorchFunction():  # what is measured is no part of the model
                    self._observe(place, tensor)
                return
