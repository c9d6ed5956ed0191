"""Unchanged: a forward pass in evaluation mode, after which the model and the process are as they were."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

KEPT = 65_536  # running statistics and counters have fewer numbers; caches, which may be large, are left to the model


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without the fused fast path of attention; everything is put back on the way out.

    Put back are the training flag of every module, buffers of up to 65,536 numbers (a model may call ``train()`` in its
    forward, and then moves its running statistics), the fast-path switch, and the random number generators of torch.

    Args:
        model: the model to be run inside.

    Yields:
        Nothing.

    Example:
        >>> net = torch.nn.Dropout()
        >>> with unchanged(net):
        ...     net.training
        False
        >>> net.training
        True
    """
    training = [(module, module.training) for module in model.modules()]
    buffers = [(module, name, buffer, buffer.detach().clone()) for module, name, buffer in _small_buffers(model)]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            for module, _ in training:  # not by eval(), which a class may have overridden to merge its weights
                module.training = False
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)
            for module, flag in training:
                module.training = flag
            for module, name, buffer, numbers in buffers:
                module._buffers[name] = buffer
                if not torch.equal(buffer, numbers):  # batch norm does not count its writes in the tensor's version
                    with torch.no_grad():
                        buffer.copy_(numbers)


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Compiled parts run as they were written.

    Not asked of torch where nothing of this process can have been compiled: loading what it takes lasts seconds.

    Yields:
        Nothing.

    Example:
        >>> with eager():
        ...     torch.nn.Linear(2, 3)(torch.ones(2)).shape
        torch.Size([3])
    """
    if not compiling():
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def compiling() -> bool:
    """Whether the compiler of torch has been loaded, as it is with the first part that is compiled."""
    return "torch._dynamo" in sys.modules


def _small_buffers(model: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):  # its buffers are not in Python
            continue
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.numel() <= KEPT and not buffer.is_inference() and not buffer.is_meta:
                yield module, name, buffer
