"""Trainer: a few hundred steps of a small model on the CPU, the same every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor, nn


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: AdamW without weight decay, the rate rising over the first tenth of the steps and falling to 0."""

    steps: int
    rate: float
    seed: int = 0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, a triangle with its peak after a tenth of the steps.

        Args:
            step: from 0.

        Returns:
            A positive number, at most `rate`.

        Example:
            >>> [round(Recipe(steps=20, rate=1.0).rate_at(step), 2) for step in (0, 1, 11, 19)]
            [0.5, 1.0, 0.5, 0.06]
        """
        warm = max(1, self.steps // 10)
        return self.rate * min((step + 1) / warm, (self.steps - step) / max(1, self.steps - warm))


def train(
    model: nn.Module,
    batch: Callable[[Generator], tuple[Tensor, Tensor]],
    recipe: Recipe,
    after_step: Callable[[float], None] | None = None,
) -> list[float]:
    """Train a model in place on the cross-entropy of its logits.

    Args:
        model: gives logits (..., classes).
        batch: draws the inputs and the targets (...) of one step with a generator.
        recipe: the steps and the optimiser.
        after_step: called with the loss of each step, in nats.

    Returns:
        The loss of each step, before that step.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> def draw(generator):
        ...     x = torch.randn(8, 2, generator=generator)
        ...     return x, (x[:, 0] > 0).long()
        >>> losses = train(model, draw, Recipe(steps=50, rate=0.1))
        >>> losses[-1] < losses[0]
        True
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, betas=recipe.betas, weight_decay=0.0)
    losses = []
    model.train()
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate_at(step)
        inputs, targets = batch(generator)
        loss = F.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch declares no types for it
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()
        losses.append(loss.item())
        if after_step:
            after_step(losses[-1])
    model.eval()
    return losses
