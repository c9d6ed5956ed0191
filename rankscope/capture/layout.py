"""Layout: which axes of an activation are sequences, tokens and features.

The answer comes from evidence, in this order: what the user said; the number of sequences, known from the inputs; the
widths of the modules that made the tensor. Where the evidence does not decide, the layer is undefined with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rankscope.records import Batch


Declared = tuple[torch.Size, bool]


class Unmeasurable(Exception):  # noqa: N818 - a reason, not an error of the user's
    """An activation that cannot be read as sequences of tokens; the message is the reason a row gives."""


@dataclass(frozen=True, slots=True)
class Axes:
    """The axes of a batch: the number of sequences, the tokens of one where known, and the layout of the inputs."""

    batch: int
    tokens: int | None
    layout: str | None

    @property
    def batch_axis(self) -> int:
        """Which axis of the inputs counts the sequences."""
        return 1 if self.layout == "tbd" else 0


def axes(batch: Batch, given: str | None, declared: Declared | None = None) -> Axes:
    """Read the axes of a batch.

    The first tensor among the arguments counts: integers are (batch, tokens); floats are as `given`, else (tokens,
    batch, width) where a module with ``batch_first=False`` received them in that shape, else (batch, tokens, width);
    a matrix of floats is one sequence.

    Args:
        batch: one call of the model.
        given: what the user said (``btd``, ``tbd``, ``bd``, ``bct``, ``bchw``, ``bhwc``), or None.
        declared: shape that reached the first module with a `batch_first` attribute, and that attribute.

    Returns:
        The axes.

    Raises:
        Unmeasurable: there is no tensor among the arguments.

    Example:
        >>> from rankscope.records import Batch
        >>> axes(Batch((torch.zeros(5, 8),)), None)
        Axes(batch=1, tokens=5, layout='bd')
    """
    first = next(iter(arguments(batch)), None)
    if first is None:
        raise Unmeasurable("the inputs hold no tensor")
    if first.is_nested:
        return Axes(first.size(0), None, given)
    shape, layout = tuple(first.shape), given
    if layout is None and first.is_floating_point():
        tokens_first = declared is not None and not declared[1] and tuple(declared[0][:2]) == shape[:2]
        layout = "bd" if len(shape) <= 2 else "tbd" if len(shape) == 3 and tokens_first else None
    keep = next(iter(batch.keep.values()), None)
    if keep is not None:
        return Axes(keep.shape[0], keep.shape[1], layout)
    if (count := _listed(batch)) is not None:
        return Axes(count, None, layout)
    if layout == "bd":
        return Axes(1, shape[0] if shape else None, layout)
    if layout == "tbd":
        return Axes(shape[1], shape[0], layout)
    is_tokens = len(shape) == 2 or (len(shape) == 3 and layout in {None, "btd"})
    return Axes(shape[0] if shape else 1, shape[1] if is_tokens else None, layout)


def _listed(batch: Batch) -> int | None:
    """The sequences of a list of single ones: images (channels, height, width) run together, ids (tokens,) in turn."""
    given = next(iter([*batch.args, *batch.kwargs.values()]), None)
    if not isinstance(given, list | tuple) or not all(isinstance(part, Tensor) for part in given):
        return None
    if all(part.ndim == 3 and part.is_floating_point() and part.shape[0] in {1, 3, 4} for part in given):
        return len(given)
    return 1 if all(part.ndim == 1 for part in given) else None


def arguments(batch: Batch) -> list[Tensor]:
    """The tensors of a call in order: positional ones, then keyword ones, masks last."""
    named = [(name in batch.keep, value) for name, value in batch.kwargs.items()]
    ordered = [*batch.args, *(value for _, value in sorted(named, key=lambda pair: pair[0]))]
    return [value for value in torch.utils._pytree.tree_leaves(ordered) if isinstance(value, Tensor)]


def read(tensor: Tensor, module: nn.Module, where: Axes) -> tuple[Tensor, Tensor | None]:
    """Bring what a layer gave into the shape (batch, tokens, width).

    Args:
        tensor: what a layer gave; spread over processes (DTensor) or nested too.
        module: the layer.
        where: the axes of the batch.

    Returns:
        The tokens, and for a nested tensor, whose sequences are padded here, a mask of the real ones.

    Raises:
        Unmeasurable: the tensor cannot be read so.

    Example:
        >>> pair = torch.nested.nested_tensor([torch.zeros(3, 8), torch.zeros(5, 8)], layout=torch.jagged)
        >>> tokens, keep = read(pair, nn.Identity(), Axes(2, None, None))
        >>> tuple(tokens.shape), keep.sum(1).tolist()
        ((2, 5, 8), [3, 5])
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        raise Unmeasurable("it runs inside torch.vmap or another transform of torch.func")
    if tensor.is_meta:
        raise Unmeasurable("its output is on the meta device: it has a shape, but no numbers")
    if not tensor.is_nested:
        return arrange(whole(tensor), module, where), None
    parts = tensor.unbind()
    if any(part.ndim != 2 or part.shape[1] != parts[0].shape[1] for part in parts) or not parts:
        raise Unmeasurable("its output is a nested tensor whose parts are not (tokens, width)")
    lengths = torch.tensor([len(part) for part in parts], device=tensor.device)
    padded = nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
    return padded, torch.arange(padded.shape[1], device=tensor.device) < lengths[:, None]


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is spread over processes (DTensor) in one piece; any other as it is.

    Args:
        tensor: any tensor; all processes that hold a part must call this.

    Returns:
        A plain tensor.
    """
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def arrange(tensor: Tensor, module: nn.Module, where: Axes) -> Tensor:
    """Bring an activation into the shape (batch, tokens, width), without copying where views do.

    Args:
        tensor: what a layer gave.
        module: the layer.
        where: the axes of the batch.

    Returns:
        A view or copy of shape (batch, tokens, width).

    Raises:
        Unmeasurable: the tensor cannot be read so.

    Example:
        >>> arrange(torch.zeros(2, 3, 8, 8), nn.Conv2d(3, 3, 1), Axes(2, None, None)).shape
        torch.Size([2, 64, 3])
    """
    if tensor.is_nested or tensor.layout is not torch.strided:
        raise Unmeasurable("its output is a sparse tensor")
    if tensor.is_complex():
        raise Unmeasurable("its output is complex")
    _refuse_part(tensor, module)
    if tensor.ndim == 2:
        return _matrix(tensor, where)
    if tensor.ndim == 3:
        return _three(tensor, module, where)
    if tensor.ndim >= 4:
        return _grid(tensor, module, where)
    raise Unmeasurable(f"its output has shape {tuple(tensor.shape)}: no tokens with features")


def _refuse_part(tensor: Tensor, module: nn.Module) -> None:
    """Refuse the output of a tensor-parallel layer that holds only this process's features, as a plain tensor."""
    weight = module._parameters.get("weight")
    placements = getattr(weight, "placements", None)
    features = 1 if isinstance(module, nn.Embedding) else 0
    if weight is None or placements is None or weight.ndim <= features or not tensor.ndim:
        return
    here, all_of_them = tensor.shape[-1], weight.shape[features]
    if here != all_of_them and any(placement.is_shard(features) for placement in placements):
        raise Unmeasurable(
            f"it is spread over processes, and this one has {here} of its {all_of_them} features; "
            "the layer that follows has them all"
        )


def _matrix(tensor: Tensor, where: Axes) -> Tensor:
    """(tokens, width) of one sequence, (batch · tokens, width), or one vector a sequence."""
    rows = tensor.shape[0]
    if where.layout == "bd":
        return tensor.unsqueeze(0)
    if where.batch == 1 or rows in {where.batch, where.batch * (where.tokens or 0)}:
        return tensor.reshape(where.batch, -1, tensor.shape[1])
    of = "" if where.tokens is None else f" of {where.tokens} tokens"
    raise Unmeasurable(
        f"its output has shape {tuple(tensor.shape)}: which rows belong to which of the {where.batch} sequences{of} "
        "cannot be told"
    )


def _three(tensor: Tensor, module: nn.Module, where: Axes) -> Tensor:
    first, second, last = tensor.shape
    if where.layout == "bct":
        return tensor.transpose(1, 2)
    if where.layout == "tbd" and second == where.batch:
        return tensor.transpose(0, 1)
    if where.layout == "bd":
        return tensor.reshape(1, -1, last) if first != 1 else tensor
    if first == where.batch:
        if second == where.batch and where.tokens != second and _declares_tokens_first(module):
            return tensor.transpose(0, 1)
        channels, features = _widths(module)
        return tensor.transpose(1, 2) if second in channels and last not in features else tensor
    if second == where.tokens and first % where.batch == 0:
        raise _several(tensor, where)
    if second == where.batch:
        return tensor.transpose(0, 1)
    windows = where.tokens is None or first * second == where.batch * where.tokens
    if where.batch and first % where.batch == 0 and windows:  # windows of one sequence lie together
        return tensor.reshape(where.batch, -1, last)
    raise Unmeasurable(
        f"its output has shape {tuple(tensor.shape)}: no axis counts the {where.batch} sequences; give --layout"
    )


def _several(tensor: Tensor, where: Axes) -> Unmeasurable:
    """Hyper-connections: a sequence has several residual streams, of which none is the one to measure."""
    of = f"{where.batch} sequences of {where.tokens} tokens"
    return Unmeasurable(f"several residual streams: its output has shape {tuple(tensor.shape)} for {of}")


def _grid(tensor: Tensor, module: nn.Module, where: Axes) -> Tensor:
    """Images and longer: positions are the tokens; the channels come second unless the evidence says last."""
    if tensor.shape[1:3] == (where.batch, where.tokens):
        raise _several(tensor, where)
    if tensor.shape[0] != where.batch:
        raise Unmeasurable(
            f"its output has shape {tuple(tensor.shape)}: the first axis does not count the {where.batch} sequences"
        )
    channels, features = _widths(module)
    if where.layout not in {"bchw", "bhwc"} and where.tokens is not None and tensor.shape[1] not in channels:
        _refuse_apart(tensor, where)
    last = tensor.shape[1] not in channels and tensor.shape[-1] in features
    if where.layout == "bhwc" or (where.layout != "bchw" and last):
        return tensor.flatten(1, -2)
    return tensor.flatten(2).transpose(1, 2)


def _refuse_apart(tensor: Tensor, where: Axes) -> None:
    """Refuse positions on several axes where the inputs are sequences, unless together they are all their tokens."""
    sizes = tensor.shape[1:-1]
    if sizes[0] == where.tokens and sizes.numel() > sizes[0]:
        raise _several(tensor, where)
    if where.tokens not in {sizes.numel(), tensor.shape[2:].numel()} and sizes.numel() > max(sizes):
        raise Unmeasurable(
            f"its output has shape {tuple(tensor.shape)}: which of its axes counts tokens cannot be told; "
            "--layout bhwc takes every position as one"
        )


def _declares_tokens_first(module: nn.Module) -> bool:
    return any(getattr(part, "batch_first", True) is False for part in module.modules())


def _widths(module: nn.Module) -> tuple[set[int], set[int]]:
    """The channel counts of convolutions in a module, and the feature counts of its linear maps and layer norms."""
    channels: set[int] = set()
    features: set[int] = set()
    for part in module.modules():
        given: Mapping[str, Any] = vars(part)
        channels |= {given[name] for name in ("out_channels", "num_channels") if isinstance(given.get(name), int)}
        if isinstance(part, nn.modules.batchnorm._NormBase):
            channels.add(part.num_features)
        features |= {given[name] for name in ("out_features", "hidden_size") if isinstance(given.get(name), int)}
        if isinstance(part, nn.LayerNorm | nn.RMSNorm):
            features.add(part.normalized_shape[-1])
    return channels, features
