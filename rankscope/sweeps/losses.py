"""Losses: the task loss of a model, where one is known, taken from the forward passes that are measured anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from rankscope.capture.flow import tensors
from rankscope.capture.layout import Unmeasurable, axes
from rankscope.capture.losses import loss_of
from rankscope.capture.session import call, undisturbed
from rankscope.capture.slicing import first_sequences
from rankscope.records import Batch

if TYPE_CHECKING:
    from collections.abc import Callable

    Loss = str | Callable[[Any, Batch], Tensor]

ROUNDING = 1e-4  # of the largest output: what a causal model may move by, where another token follows
_OWN = "the model's own"


class TaskLoss:
    """The mean loss of a model over the batches of one pass.

    Next-token cross-entropy is a task loss of a causal model alone: whether this one is, is tried once, on one sequence
    whose last token is changed. A product with a random cotangent is no task loss.

    Args:
        kind: what ``--loss`` says, or the user's own function.
        model: the model, on its device.
        batch: its first batch, on the same device.
        source: where the inputs come from, as a report says it.
    """

    def __init__(self, kind: Loss, model: nn.Module, batch: Batch, source: str = "") -> None:
        self._kind, self._model = kind, model
        self.name, self.told = _known(kind, model, batch)
        if self.name == "lm" and kind == "auto" and source.startswith(("random", "inferred")):
            self.name, self.told = None, "no task loss is known: no model can predict random ids (--text FILE)"
        self._sum, self._weight = 0.0, 0

    def begin(self) -> Callable[[Any, Batch], None]:
        """Begin a new pass over the inputs.

        Returns:
            What is to be shown every output.
        """
        self._sum, self._weight = 0.0, 0
        return self.add

    @torch.no_grad()
    def add(self, output: Any, batch: Batch) -> None:
        """Take the loss of one batch, if the model has one.

        Args:
            output: what the model returned.
            batch: its arguments.
        """
        if self.name is None:
            return
        value: Any = _own(output) if self.name == _OWN else None
        if value is None and callable(self._kind):
            value = self._kind(output, batch)
        elif value is None:
            value, _ = loss_of(self.name, self._model, output, batch)
        weight = _weight(self.name, batch)
        self._sum += float(value) * weight
        self._weight += weight

    @property
    def value(self) -> float | None:
        """The mean over the pass; None where no loss is known."""
        return self._sum / self._weight if self._weight else None


def _known(kind: Loss, model: nn.Module, batch: Batch) -> tuple[str | None, str]:
    """The name of the loss, or None; and how it is computed, or why there is none."""
    if callable(kind):
        name = getattr(kind, "__name__", "loss")
        return name, f"{name}, the function that was given; the mean over batches, weighted by their sequences"
    if kind in {"ce", "mse"}:
        words = "cross-entropy" if kind == "ce" else "mean squared error"
        return kind, f"{words} with the targets among the inputs"
    if kind == "cotangent":
        return None, "no task loss: --loss cotangent is a product with fixed random numbers"
    with undisturbed(model), torch.no_grad():
        one = _one_sequence(batch)
        output = call(model, one)
        if kind == "auto" and _own(output) is not None:
            return _OWN, "the loss that the model returns"
        logits, ids = next(tensors(output), None), _ids(batch)
        if ids is None or logits is None or not _over_vocabulary(logits, _ids(one), model, strict=kind == "auto"):
            return None, "no task loss is known: the output is no loss and no logits over the input ids (--loss NAME)"
        if kind == "lm" or _is_causal(model, one, logits):
            return "lm", "next-token cross-entropy of the model on its own input ids, in nats a token"
    return None, "no task loss is known: the model sees the tokens that it would have to predict (--loss NAME)"


def _own(output: Any) -> Tensor | None:
    """The loss that a model returns beside its output."""
    found = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
    return found if isinstance(found, Tensor) and found.ndim == 0 else None


def _ids(batch: Batch) -> Tensor | None:
    """The token ids among the arguments."""
    for value in tree_leaves((batch.args, dict(batch.kwargs))):
        if isinstance(value, Tensor) and value.ndim == 2 and value.dtype in {torch.int64, torch.int32}:
            return value
    return None


def _over_vocabulary(logits: Tensor, ids: Tensor | None, model: nn.Module, *, strict: bool) -> bool:
    """Whether an output is logits over the vocabulary of the ids."""
    if ids is None or logits.ndim != 3 or logits.shape[:2] != ids.shape or ids.shape[1] < 2:
        return False
    sizes = {part.num_embeddings for part in model.modules() if isinstance(part, nn.Embedding)}
    return bool(ids.max() < logits.shape[2]) and (not strict or logits.shape[2] in sizes)


def _one_sequence(batch: Batch) -> Batch:
    try:
        return first_sequences(batch, 1, axes(batch, None))
    except Unmeasurable:
        return batch


def _is_causal(model: nn.Module, batch: Batch, logits: Tensor) -> bool:
    """Whether no output before the last real token moves when that token is another one."""
    ids = _ids(batch)
    assert ids is not None
    mask = next((mask for mask in batch.keep.values() if mask.shape == ids.shape), None)
    last = ids.shape[1] - 1 if mask is None else int(mask[0].nonzero()[-1])
    other = ids.clone()
    other[:, last] = (ids[:, last] + 1) % logits.shape[2]

    def swap(value: Any) -> Any:
        return other if value is ids else value

    changed = Batch(tree_map(swap, batch.args), tree_map(swap, dict(batch.kwargs)), batch.keep)
    moved = next(tensors(call(model, changed)))
    before, after = logits[:, :last].float(), moved[:, :last].float()
    return bool((after - before).abs().max() <= ROUNDING * before.abs().max()) if last else False


def _weight(name: str, batch: Batch) -> int:
    """How much a batch counts: the tokens that are predicted, or its sequences."""
    ids = _ids(batch)
    if name == "lm" and ids is not None:
        mask = next((mask for mask in batch.keep.values() if mask.shape == ids.shape), None)
        return ids.numel() - len(ids) if mask is None else max(int((mask[:, 1:] & mask[:, :-1]).sum()), 1)
    first = next((value for value in tree_leaves((batch.args, dict(batch.kwargs))) if isinstance(value, Tensor)), None)
    return 1 if first is None or not first.ndim else max(len(first), 1)
