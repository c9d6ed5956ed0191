from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rankscope
from rankscope.records import Batch
from rankscope.sweeps.losses import TaskLoss


class Words(nn.Module):
    """Logits over 11 ids: of the token itself alone, or of the mean of all."""

    def __init__(self, *, causal: bool = True) -> None:
        super().__init__()
        self.embed, self.head, self.causal = nn.Embedding(11, 8), nn.Linear(8, 11), causal

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        head: Tensor = self.head(x if self.causal else x + x.mean(1, keepdim=True))
        return head


def ids(rows: int = 3, tokens: int = 7) -> Tensor:
    return torch.randint(0, 11, (rows, tokens), generator=torch.Generator().manual_seed(0))


def loss_of(model: nn.Module, batches: list[Batch], kind: Any = "auto") -> TaskLoss:
    found = TaskLoss(kind, model, batches[0])
    add = found.begin()
    for batch in batches:
        add(model(*batch.args), batch)
    return found


def test_the_next_token_of_a_causal_model() -> None:
    model, first, second = Words(), ids(3), ids(5, 4)
    found = loss_of(model, [Batch((first,)), Batch((second,))])
    logits = [model(batch)[:, :-1].flatten(0, 1) for batch in (first, second)]
    targets = [batch[:, 1:].flatten() for batch in (first, second)]
    assert found.name == "lm"
    assert found.value == pytest.approx(F.cross_entropy(torch.cat(logits), torch.cat(targets)).item())
    found.begin()
    assert found.value is None


def test_padding_predicts_nothing() -> None:
    model, given = Words(), ids(2, 6)
    keep = torch.ones(2, 6, dtype=torch.bool)
    keep[1, 3:] = False
    found = loss_of(model, [Batch((given,), keep={"mask": keep})])
    other = given.clone()
    other[1, 3:] = 0
    assert found.value == pytest.approx(loss_of(model, [Batch((other,), keep={"mask": keep})]).value)


def test_a_model_that_sees_what_it_would_predict_has_no_such_loss() -> None:
    found = loss_of(Words(causal=False), [Batch((ids(),))])
    assert (found.name, found.value) == (None, None)
    assert "sees the tokens that it would have to predict" in found.told
    asked = loss_of(Words(causal=False), [Batch((ids(),))], "lm")
    assert asked.value is not None


def test_random_ids_are_no_task() -> None:
    found = TaskLoss("auto", Words(), Batch((ids(),)), "random: ids=3x7:int64:0..10, seed 0")
    assert found.name is None
    assert "random" in found.told
    assert TaskLoss("lm", Words(), Batch((ids(),)), "random: …").name == "lm"


@pytest.mark.parametrize("jobs", [1, 2])
def test_random_ids_have_no_loss_in_other_processes_either(jobs: int) -> None:
    found = rankscope.sweep(
        "zoo:transformer,width=16,heads=2",
        over="depth=1,2",
        jobs=jobs,
        measures="mu_bar",
        random="ids=4x16:int64:0..255",
    )
    assert [point.loss for point in found.points] == [None, None]
    assert "random ids" in found.loss_told


def test_the_loss_that_a_model_returns() -> None:
    class Own(Words):
        def forward(self, ids: Tensor) -> Any:
            return SimpleNamespace(loss=torch.tensor(float(len(ids))), logits=super().forward(ids))

    found = loss_of(Own(), [Batch((ids(2),)), Batch((ids(4),))])
    assert found.name == "the model's own"
    assert found.value == pytest.approx((2 * 2 + 4 * 4) / 6)


def test_a_function_and_targets_and_none() -> None:
    x = torch.randn(4, 5, 8)
    model = nn.Linear(8, 3)

    def mean_square(output: Any, _: Batch) -> Tensor:
        square: Tensor = output.square().mean()
        return square

    found = loss_of(model, [Batch((x,))], mean_square)
    assert found.value == pytest.approx(model(x).square().mean().item())
    target = torch.randint(0, 3, (4, 5))
    classes = TaskLoss("ce", model, Batch((x,), {"labels": target}))
    classes.begin()(model(x), Batch((x,), {"labels": target}))
    assert classes.value == pytest.approx(F.cross_entropy(model(x).flatten(0, 1), target.flatten()).item())
    assert loss_of(model, [Batch((x,))], "cotangent").value is None
    nothing = loss_of(model, [Batch((x,))])
    assert nothing.value is None
    assert "no task loss is known" in nothing.told


@pytest.mark.parametrize("measures", ["mu_bar", "mu_bar,grad_norm"])
def test_the_loss_is_that_of_the_pass_that_is_measured(measures: str) -> None:
    given = {"random": "ids=4x16:int64:0..255", "loss": "lm", "measures": measures}
    spec = "zoo:transformer,depth=2,width=16,heads=2"
    found = rankscope.sweep(spec, edit="lambda_skip=1,2", **given)
    model = rankscope.zoo.build("transformer,depth=2,width=16,heads=2").eval()
    from rankscope.inputs import InputOptions, gather
    from rankscope.sources import open_model

    batch = next(iter(gather(open_model(spec), InputOptions(random=(given["random"],))).batches))
    tokens = next(iter([*batch.args, *batch.kwargs.values()]))
    with torch.no_grad():
        logits = model(tokens)
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).item()
    assert found.reference is not None
    assert found.reference.loss == pytest.approx(expected, rel=1e-5)
    assert found.points[0].loss == found.reference.loss
    assert found.points[1].loss != found.reference.loss
