"""Losses: the scalar whose gradients are measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rankscope.capture.flow import tensors
from rankscope.capture.layout import arguments
from rankscope.errors import UsageError
from rankscope.inputs.arguments import TARGETS
from rankscope.registry import unknown_name
from rankscope.user_code import locate, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from rankscope.records import Batch


IGNORED = -100  # a target that no id is
LOSSES = ("auto", "lm", "ce", "mse", "cotangent")


def check_loss(given: str | Callable[[Any, Batch], Tensor]) -> None:
    """Refuse a name that no loss has; the user's own code is not read yet.

    Args:
        given: a name, ``package.module:function``, or a function.

    Raises:
        UsageError: it is none of these.
    """
    if not callable(given) and given not in LOSSES and ":" not in given:
        error = unknown_name("loss", given, [*LOSSES, "package.module:function"])
        raise error


def loss_named(given: str | Callable[[Any, Batch], Tensor]) -> str | Callable[[Any, Batch], Tensor]:
    """The loss by its name, or the user's own function, which is imported.

    Args:
        given: a name, ``package.module:function``, or a function.

    Returns:
        One of `LOSSES`, or a function of (output, batch).
    """
    check_loss(given)
    if callable(given) or given in LOSSES:
        return given
    found: Callable[[Any, Batch], Tensor] = locate(given, UsageError, "RS114")
    return found


def loss_of(
    kind: str | Callable[[Any, Batch], Tensor], model: nn.Module, output: Any, batch: Batch
) -> tuple[Tensor, str]:
    """The loss of one forward pass.

    Args:
        kind: ``auto``, ``lm``, ``ce``, ``mse``, ``cotangent``, or a function of (output, batch). Auto takes the
            model's own loss where its output holds one, next-token cross-entropy where the output is logits over the
            vocabulary of the input ids, else the product with a fixed random cotangent.
        model: the model.
        output: what the model returned.
        batch: its arguments; with ``ce`` and ``mse`` the targets are among them.

    Returns:
        A scalar, and the name of the loss that was taken.

    Raises:
        UsageError: the loss asked for does not fit the output, or its targets are missing.

    Example:
        >>> from rankscope.records import Batch
        >>> loss_of("auto", nn.Linear(2, 2), torch.ones(4, 2), Batch((torch.ones(4, 2),)))[1]
        'cotangent'
    """
    if callable(kind):
        return _users(kind, output, batch), getattr(kind, "__name__", "loss")
    own = _own_loss(output)
    first = next(tensors(output), None)
    if kind == "auto" and own is not None:
        return own, "the model's own"
    if first is None:
        raise UsageError("RS111", "the model's output holds no floating tensor: no loss can be taken of it")
    if first.is_nested:
        first = torch.cat(list(first.unbind()))
    ids = _token_ids(first, model, batch, strict=kind != "lm")
    if kind == "lm" and ids is None:
        raise UsageError(
            "RS111", "--loss lm needs logits (batch, tokens, vocabulary) and token ids of the same batch and tokens"
        )
    if kind == "lm" or (kind == "auto" and ids is not None):
        assert ids is not None
        return _next_token(first, ids, batch), "lm"
    if kind in {"ce", "mse"}:
        return _supervised(kind, first, batch), kind
    return _cotangent(first, batch), "cotangent"


def _users(loss: Callable[[Any, Batch], Tensor], output: Any, batch: Batch) -> Tensor:
    """What the user's own function gives, if it is a scalar that gradients can be taken of."""
    name = getattr(loss, "__name__", "loss")
    with told(UsageError, "RS114", f"the loss {name} raised"):
        found: Any = loss(output, batch)
    if isinstance(found, Tensor) and found.numel() == 1 and found.requires_grad:
        return found.squeeze()
    got = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
    if isinstance(found, Tensor) and not found.requires_grad:
        got = "a tensor that does not depend on the output"
    raise UsageError(
        "RS114",
        f"the loss {name} gave {got}",
        details=[("expected", "a scalar tensor computed from the output")],
        remedies=[("Reduce it to one number", "return the mean or the sum, without .item() or .detach()")],
    )


def _own_loss(output: Any) -> Tensor | None:
    loss = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
    return loss if isinstance(loss, Tensor) and loss.ndim == 0 and loss.requires_grad else None


def _token_ids(logits: Tensor, model: nn.Module, batch: Batch, *, strict: bool) -> Tensor | None:
    """The input ids that these logits are over, or None."""
    if logits.ndim != 3:
        return None
    vocabularies = {part.num_embeddings for part in model.modules() if isinstance(part, nn.Embedding)}
    for ids in arguments(batch):
        fits = not ids.is_floating_point() and ids.shape == logits.shape[:2] and ids.shape[1] > 1
        if fits and ids.max() < logits.shape[2] and (not strict or logits.shape[2] in vocabularies):
            return ids.long()
    return None


def _keep(first: Tensor, batch: Batch) -> Tensor | None:
    """The padding mask that fits the output, if any."""
    return next((mask for mask in batch.keep.values() if mask.shape == first.shape[:2]), None)


def _next_token(logits: Tensor, ids: Tensor, batch: Batch) -> Tensor:
    keep = _keep(logits, batch)
    if keep is None or bool(keep.all()):  # to leave the last tokens out by their targets spares a copy of the logits
        targets = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], IGNORED)], 1)
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED)
    pairs = keep[:, 1:] & keep[:, :-1]
    return nn.functional.cross_entropy(logits[:, :-1][pairs].float(), ids[:, 1:][pairs])


def _supervised(kind: str, output: Tensor, batch: Batch) -> Tensor:
    target = next((batch.kwargs[name] for name in TARGETS if name in batch.kwargs), None)
    if target is None:
        raise UsageError(
            "RS112", f"--loss {kind} needs targets among the inputs, under one of the names {', '.join(TARGETS)}"
        )
    if (kind == "mse" and target.shape != output.shape) or (kind == "ce" and target.shape != output.shape[:-1]):
        shapes = [("output", str(tuple(output.shape))), ("targets", str(tuple(target.shape)))]
        raise UsageError("RS112", f"--loss {kind}: the targets do not fit the output", details=shapes)
    if kind == "mse":
        return nn.functional.mse_loss(output.float(), target.float())
    return nn.functional.cross_entropy(output.float().flatten(0, -2), target.flatten())


def _cotangent(output: Tensor, batch: Batch) -> Tensor:
    """⟨output, u⟩/√(number of u), u standard normal from a fixed seed, drawn for the real tokens alone."""
    keep = _keep(output, batch)
    real = output if keep is None else output[keep]
    draws = torch.randn(real.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    product: Tensor = (real.float() * draws.to(real.device)).sum()
    return product / math.sqrt(max(draws.numel(), 1))
