"""Session: one measured forward pass that leaves no trace on the model or the process."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rankscope.capture.reading import Read
from rankscope.capture.watch import hooked, recounted
from rankscope.errors import CaptureError, RankscopeError
from rankscope.inputs.arguments import TARGETS
from rankscope.inputs.inferred import flags_that_run
from rankscope.inputs.unchanged import eager, unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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
    with unchanged(model), eager():
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
    tell: Callable[[str], None] | None = None,
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
        tell: receives a sentence for each place that ran more or less often than when the model was traced.

    Returns:
        What the model returned.

    Raises:
        CaptureError: the model raised.
    """
    with contextlib.ExitStack() as exits:
        exits.enter_context(eager())  # the trace may have been the first to compile a part
        watches = exits.enter_context(hooked(plan.places, observe))
        if observe_values is not None:
            exits.enter_context(hooked(plan.value_modules, functools.partial(_as_values, plan, observe_values)))
        read = Read(plan, observe_values, observe_attention)
        if read.wanted:
            exits.enter_context(read)
        output = call(model, batch)
    if tell is not None:
        for sentence in [*recounted(watches, plan), *read.missed()]:
            tell(sentence)
    return output


def call(model: nn.Module, batch: Batch, *, suggest: bool = False) -> Any:
    """Call a model, and say in the user's terms what went wrong if it raises.

    Args:
        model: the model.
        batch: the arguments.
        suggest: look for inputs that it runs on if it raises, which takes some forwards.

    Returns:
        What the model returned.

    Raises:
        CaptureError: the model raised.
        RankscopeError: an edit raised, which runs inside the model.
    """
    try:
        return model(*batch.args, **_taken(model, batch.kwargs))
    except RankscopeError:
        raise
    except Exception as error:
        shown = str(error).strip().split("\n")[0][:300]
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in shown:
            full = _out_of_memory(model, batch, shown)
            raise full from error
        known = flags_that_run(model) if suggest else None
        raise CaptureError(
            "RS401",
            f"the forward pass of {type(model).__name__} failed: {type(error).__name__}: {shown}",
            details=[("inputs", describe(batch)), ("raised in", _raised_in(error))],
            remedies=[
                *([("The model was seen to run on", known)] if known else []),
                ("Give inputs that fit", "--input FILE, --random SPEC or --inputs module:function"),
                ("See the traceback", "--debug"),
            ],
        ) from error


def _out_of_memory(model: nn.Module, batch: Batch, shown: str) -> CaptureError:
    return CaptureError(
        "RS901",
        f"the forward pass of {type(model).__name__} ran out of memory",
        details=[("inputs", describe(batch)), ("raised", shown)],
        remedies=[("Give fewer or shorter sequences", "--batch-size 1, --max-tokens N, or a smaller --random")],
    )


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


def _as_values(plan: Plan, observe: Callable[[ValuePlace, Tensor, Tensor], None], place: Place, tensor: Tensor) -> None:
    """What a module gave, or got, are the values of its layer."""
    target = plan.values[(place.module_name,), place.call]
    own = plan.mixed.get(tensor, tensor)
    mixed = tensor.permute(target.order) if target.order else tensor
    observe(target, mixed if own is tensor else own.permute(target.order) if target.order else own, mixed)
