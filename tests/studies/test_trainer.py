"""The small trainer: it learns, it is the same every time, and it does what its recipe says."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from rankscope.studies.trainer import Recipe, train


def draw(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(16, 3, 4, generator=generator)
    return x, (x.sum(dim=-1) > 0).long()


def net() -> torch.nn.Module:
    model = torch.nn.Linear(4, 2, bias=False)
    torch.nn.init.zeros_(model.weight)
    return model


def test_the_loss_falls_from_that_of_a_guess() -> None:
    losses = train(net(), draw, Recipe(steps=60, rate=0.1))
    assert len(losses) == 60
    assert losses[0] == pytest.approx(torch.tensor(2.0).log().item())
    assert losses[-1] < 0.2


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others() -> None:
    models = [net() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        train(model, draw, Recipe(steps=5, rate=0.1, seed=seed))
    assert torch.equal(models[0].weight, models[1].weight)
    assert not torch.equal(models[0].weight, models[2].weight)


def test_the_callers_random_numbers_go_on() -> None:
    model = net()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train(model, draw, Recipe(steps=3, rate=0.1))
    assert torch.equal(torch.rand(2), expected)


def test_it_is_adamw_on_the_cross_entropy() -> None:
    recipe = Recipe(steps=12, rate=0.05, betas=(0.8, 0.9), clip=0.1)
    model, twin = net(), net()
    train(model, draw, recipe)
    optimiser = torch.optim.AdamW(twin.parameters(), betas=(0.8, 0.9), weight_decay=0)
    generator = torch.Generator().manual_seed(0)
    for step in range(12):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 if step == 0 else (12 - step) / 11)
        x, y = draw(generator)
        optimiser.zero_grad()
        F.cross_entropy(twin(x).reshape(-1, 2), y.reshape(-1)).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.1)
        optimiser.step()
    assert torch.equal(model.weight, twin.weight)


@pytest.mark.parametrize("steps", [1, 5, 10, 1000])
def test_the_rate_rises_then_falls_and_is_never_0(steps: int) -> None:
    rates = [Recipe(steps=steps, rate=2.0).rate_at(step) for step in range(steps)]
    peak = rates.index(max(rates))
    assert rates[peak] == 2.0
    assert peak == max(1, steps // 10) - 1
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert min(rates) > 0


def test_every_step_is_told_and_the_model_is_left_in_evaluation() -> None:
    told: list[float] = []
    model = net().eval()
    losses = train(model, draw, Recipe(steps=4, rate=0.1), told.append)
    assert told == losses
    assert not model.training
