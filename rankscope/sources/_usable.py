"""Usable: a module that was had, but on which no hook would fire or no number would come, is refused before it runs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import nn

from rankscope.errors import LoadError
from rankscope.sources._weights import listed

if TYPE_CHECKING:
    from rankscope.records import Source


def usable(source: Source) -> Source:
    """Refuse a model without numbers, or whose layers are names only.

    Args:
        source: a model. One that accelerate offloads keeps its weights elsewhere between its calls, and is let through.

    Returns:
        The same.

    Raises:
        LoadError: a tensor is on the meta device, a lazy module has no weights yet, or a flat graph holds layers that
            it never calls.

    Example:
        >>> from rankscope.records import Source
        >>> usable(Source(nn.LazyLinear(3), "net", "module"))
        Traceback (most recent call last):
        rankscope.errors.LoadError: net was not opened: its lazy modules have no weights yet [RS406]
          tensors  weight, bias
          Run it once: model(example), then give it to rankscope.probe
    """
    tensors = list(itertools.chain(source.model.named_parameters(), source.model.named_buffers()))
    lazy = [name for name, tensor in tensors if nn.parameter.is_lazy(tensor)]
    if lazy:
        raise LoadError(
            "RS406",
            f"{source.spec} was not opened: its lazy modules have no weights yet",
            details=[("tensors", listed(lazy))],
            remedies=[("Run it once", "model(example), then give it to rankscope.probe")],
        )
    offloaded = any(hasattr(module, "_hf_hook") for module in source.model.modules())
    hollow = [name for name, tensor in tensors if tensor.is_meta and not offloaded]
    if hollow:
        raise LoadError(
            "RS405",
            f"{source.spec} was not opened: {len(hollow)} of its {len(tensors)} tensors are on the meta device, "
            "without numbers",
            details=[("tensors", listed(hollow))],
            remedies=[("Load its weights first", "model.load_state_dict(state, assign=True)")],
        )
    flat = next((name for name, module in source.model.named_modules() if _flat(module)), None)
    if flat is not None:
        raise LoadError(
            "RS407",
            f"{source.spec} was not opened: {flat or 'it'} is a flat graph that calls none of its own layers",
            details=[("why", "hooks on the layers are accepted and never called, as in ExportedProgram.module()")],
            remedies=[
                ("Give the module it was made from", "rankscope.probe(model, inputs)"),
                ("Bring its layers back", "torch.export.unflatten(program)"),
            ],
        )
    return source


def _flat(module: nn.Module) -> bool:
    """Whether a module is a graph that holds layers with weights and calls none of them."""
    if not isinstance(module, torch.fx.GraphModule):
        return False
    called = [f"{node.target}." for node in module.graph.nodes if node.op == "call_module"]
    layers = [name for name, part in module.named_modules() if name and any(True for _ in part.parameters(False))]
    return bool(layers) and not any(f"{layer}.".startswith(target) for layer in layers for target in called)
