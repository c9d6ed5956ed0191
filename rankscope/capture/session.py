"""Session: one measured forward pass that leaves no trace on the model or the process."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rankscope.capture.flow import tensors
from rankscope.capture.reading import Read
from rankscope.errors import CaptureError
from rankscope.inputs.arguments import TARGETS
from rankscope.inputs.unchanged import unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch.utils.hooks import RemovableHandle

    from rankscope.capture.maps import AttentionMaps
    from rankscope.capture.places import AttentionPlace, Place, Plan, ValuePlace
    from rankscope.records import Batch


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no fused fast path, eager execution; everything is restored on the way out.

    What is put back: see `unchanged`. DataParallel runs on the first of its devices.

    Args:
        model: the model.

    Yields:
        Nothing.

    Example:
        >>> net = nn.Dropout()
        >>> with undisturbed(net):
        ...     net.training
        False
        >>> net.training
        True
    """
    spread = [
        module for module in model.modules() if isinstance(module, nn.DataParallel) and len(module.device_ids) > 1
    ]
    several = [module.device_ids for module in spread]
    with unchanged(model), torch.compiler.set_stance("force_eager"):
        try:
            for module in spread:  # hooks on the copies that run in threads would say the same things in any order
                module.device_ids = module.device_ids[:1]
            yield
        finally:
            for module, ids in zip(spread, several, strict=True):
                module.device_ids = ids


def forward(
    model: nn.Module,
    batch: Batch,
    plan: Plan,
    observe: Callable[[Place, Tensor], None],
    observe_values: Callable[[ValuePlace, Tensor, Tensor], None] | None = None,
    observe_attention: Callable[[AttentionPlace, AttentionMaps], None] | None = None,
) -> Any:
    """Run one batch with a hook at every place of the plan; the hooks are gone afterwards, whatever happened.

    Args:
        model: the model.
        batch: the arguments of the call.
        plan: the places.
        observe: receives each place and its activation, inside the hook.
        observe_values: receives V_n and V'_n, what attention gets of it, as (batch, heads, tokens, width) or as the
            model has it; the same tensor where nothing is mixed. None where no measure asks for values.
        observe_attention: receives the maps of each attention call; None where no measure asks for them.

    Returns:
        What the model returned.

    Raises:
        CaptureError: the model raised.
    """
    handles: list[RemovableHandle] = []
    try:
        handles += _hooks(plan.places, observe)
        if observe_values is not None:
            seen = functools.partial(_as_values, plan, observe_values)
            handles += _hooks(plan.value_modules, seen)
        wanted = (observe_values and plan.values) or (observe_attention and plan.attention)
        with Read(plan, observe_values, observe_attention) if wanted else contextlib.nullcontext():
            return call(model, batch)
    finally:
        for handle in handles:
            handle.remove()


def call(model: nn.Module, batch: Batch) -> Any:
    """Call a model, and say in the user's terms what went wrong if it raises.

    Args:
        model: the model.
        batch: the arguments.

    Returns:
        What the model returned.

    Raises:
        CaptureError: the model raised.
    """
    try:
        return model(*batch.args, **_taken(model, batch.kwargs))
    except Exception as error:
        shown = str(error).strip().split("\n")[0][:300]
        raise CaptureError(
            "RS401",
            f"the forward pass of {type(model).__name__} failed: {type(error).__name__}: {shown}",
            details=[("inputs", describe(batch)), ("raised in", _raised_in(error))],
            remedies=[
                ("Give inputs that fit", "--input FILE, --random 'x=8x128x64' or --inputs module:function"),
                ("See the traceback", "--debug"),
            ],
        ) from error


def _taken(model: nn.Module, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments without the targets that the model's forward does not name."""
    if not set(TARGETS) & set(kwargs):
        return dict(kwargs)
    named = inspect.signature(model.forward).parameters
    return {name: value for name, value in kwargs.items() if name in named or name not in TARGETS}


def describe(batch: Batch) -> str:
    """The arguments of a call in one line: names, shapes and dtypes.

    Args:
        batch: the call.

    Returns:
        One line.

    Example:
        >>> from rankscope.records import Batch
        >>> describe(Batch((torch.zeros(2, 3),), {"mask": torch.ones(2, 3, dtype=torch.bool)}))
        'float32[2, 3], mask=bool[2, 3]'
    """
    parts = [_one(value) for value in batch.args]
    parts += [f"{name}={_one(value)}" for name, value in batch.kwargs.items()]
    return ", ".join(parts)


def _one(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return type(value).__name__


def _raised_in(error: BaseException) -> str:
    """The last frame of the traceback: a file name, its line and function."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown"
    code = trace.tb_frame.f_code
    return f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} in {code.co_name}"


def _hooks(places: Sequence[Place], observe: Callable[[Place, Tensor], None]) -> Iterator[RemovableHandle]:
    by_module: dict[nn.Module, list[Place]] = {}
    for place in places:
        by_module.setdefault(place.module, []).append(place)
    for module, its_places in by_module.items():
        watch = _Watch(its_places, observe)
        yield module.register_forward_pre_hook(watch.enter, with_kwargs=True)
        yield module.register_forward_hook(watch.leave)


def _as_values(plan: Plan, observe: Callable[[ValuePlace, Tensor, Tensor], None], place: Place, tensor: Tensor) -> None:
    """What a module gave, or got, are the values of its layer."""
    target = plan.values[(place.module_name,), place.call]
    values = tensor.permute(target.order) if target.order else tensor
    observe(target, values, values)


class _Watch:
    """The two hooks of one module; a module that is called several times is told apart by its call number."""

    def __init__(self, places: list[Place], observe: Callable[[Place, Tensor], None]) -> None:
        self._entering = {place.call: place for place in places if place.entering}
        self._leaving = {place.call: place for place in places if not place.entering}
        self._observe = observe
        self._begun = self._ended = -1

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module
        self._begun += 1
        if place := self._entering.get(self._begun):
            self._seen(place, (args, kwargs), place.stream)

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        del module, args
        self._ended += 1
        if place := self._leaving.get(self._ended):
            self._seen(place, output, 0)

    def _seen(self, place: Place, data: Any, number: int) -> None:
        for index, tensor in enumerate(tensors(data)):
            if index == number:
                self._observe(place, tensor)
                return
