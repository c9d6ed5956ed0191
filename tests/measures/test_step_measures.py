"""Measures of a step: what one layer does to the stream of the layer before it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankscope import probe
from rankscope.measures import MEASURES
from rankscope.measures.contribution import contribution
from rankscope.measures.representation_change import representation_change
from rankscope.requirements.coverage import covered
from rankscope.zoo import build

STEPS = ("representation_change", "contribution")
TOKENS, WIDTH, BLOCKS = 64, 1024, 40


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(256, (3, 11), generator=torch.Generator().manual_seed(0))


def draws() -> list[torch.Tensor]:
    """The embedding, then f of every block: iid N(0, I)."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(TOKENS, WIDTH, dtype=torch.float64, generator=generator) for _ in range(BLOCKS + 1)]


def layer_norm(x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, (WIDTH,), eps=0)


def pre_ln() -> list[torch.Tensor]:
    x, *branches = draws()
    return [x, *(x := x + f for f in branches)]


def post_ln() -> list[torch.Tensor]:
    x, *branches = draws()
    return [x, *(x := layer_norm(x + f) for f in branches)]


def residual_dual() -> list[torch.Tensor]:
    """What ResiDual would give after every block: x_ln + LN(x_d)."""
    return [x + layer_norm(dual) for x, dual in zip(post_ln(), pre_ln(), strict=True)]


def changes(streams: list[torch.Tensor]) -> list[float]:
    return [representation_change(after, before).item() for before, after in itertools.pairwise(streams)]


class TestMeanField:
    """f iid N(0, I), x(1) the embedding: w_k² of arXiv 2304.14802."""

    def test_pre_ln_vanishes(self) -> None:
        expected = [2 / (k + 1 + math.sqrt(k * k + k)) for k in range(1, BLOCKS + 1)]
        assert changes(pre_ln()) == pytest.approx(expected, rel=0.03)
        assert expected[-1] < 0.025

    def test_post_ln_is_the_same_at_every_block(self) -> None:
        assert changes(post_ln()) == pytest.approx([2 - math.sqrt(2)] * BLOCKS, rel=0.03)

    def test_resi_dual_does_not_vanish(self) -> None:
        found = changes(residual_dual())
        assert min(found) > 0.2
        assert found[-1] == pytest.approx(found[BLOCKS // 2], rel=0.1)

    def test_what_a_pre_ln_block_contributes_falls_with_the_square_root(self) -> None:
        streams = pre_ln()
        found = [contribution(after, before).item() for before, after in itertools.pairwise(streams)]
        assert found == pytest.approx([k**-0.5 for k in range(1, BLOCKS + 1)], rel=0.03)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_neither_the_scale_nor_the_mean_of_a_token_counts_for_the_change(scale: float) -> None:
    x, y = draws()[:2]
    plain = representation_change(y, x).item()
    assert representation_change(scale * y, x + 3).item() == pytest.approx(plain, rel=1e-9)
    assert contribution(scale * y, scale * x).item() == pytest.approx(contribution(y, x).item(), rel=1e-9)


def test_ends_of_the_range() -> None:
    x = draws()[0]
    assert representation_change(x, x).item() == contribution(x, x).item() == 0
    assert representation_change(-x, x).item() == pytest.approx(4)
    assert contribution(-x, x).item() == pytest.approx(2)


def test_a_token_whose_features_are_all_equal_is_left_out() -> None:
    x, y = (stream.clone() for stream in draws()[:2])
    rest = representation_change(y[2:], x[2:]).item()
    x[0], y[1] = 0.1, -0.3
    assert representation_change(y, x).item() == pytest.approx(rest)
    assert math.isnan(representation_change(y[:2], x[:2]).item())


def hooked(model: nn.Module, ids: torch.Tensor) -> list[torch.Tensor]:
    """The input of the first block, then what each block gives, float64."""
    seen: list[torch.Tensor] = []

    def leave(module: nn.Module, args: object, out: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        seen.append((out if isinstance(out, torch.Tensor) else out[0]).double().clone())

    handles = [model.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].double().clone()))]
    handles += [block.register_forward_hook(leave) for block in model.blocks]
    model(ids)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("spec", ["transformer", "transformer,norm=post", "resi_dual", "resformer"])
def test_the_probe_gives_the_change_over_each_block(spec: str, ids: torch.Tensor) -> None:
    model = build(f"{spec},depth=3,width=16")
    streams = hooked(model, ids)
    report = probe(model, ids, measures=STEPS)
    for name in STEPS:
        rows = [row for row in report.rows if row.measure == name]
        expected = [MEASURES[name].function(y, x) for x, y in itertools.pairwise(streams)]
        assert [(row.layer_index, row.site, row.status) for row in rows] == [(k, "block", "ok") for k in (1, 2, 3)]
        for row, values in zip(rows, expected, strict=True):
            assert row.samples == pytest.approx(values.tolist(), rel=1e-5)


def test_the_post_norm_stream_of_resi_dual_changes_as_the_post_norm_transformer(ids: torch.Tensor) -> None:
    plain = build("transformer,norm=post,depth=12")
    model = build("resi_dual,depth=12", seed=1)
    model.load_state_dict(plain.state_dict(), strict=False)
    found = [[row.value for row in probe(each, ids, measures=STEPS[:1]).rows] for each in (plain, model)]
    assert found[0] == found[1]
    assert min(found[0]) > 0.4, "while a Pre-LN stack of that depth ends far below"
    assert probe(build("transformer,depth=12"), ids, measures=STEPS[:1]).rows[-1].value < 0.15


class InPlace(nn.Module):
    """A block that writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.add_(self.linear(x))


def test_a_block_that_writes_into_its_input_is_compared_with_what_it_was() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ModuleDict({"h": nn.Sequential(*(InPlace() for _ in range(3)))})["h"])
    rows = probe(model, torch.randn(2, 9, 8), measures=["contribution"]).rows
    assert [row.status for row in rows] == ["ok"] * len(rows)
    assert min(row.value for row in rows if row.layer_index) > 0.1


def test_padding_is_left_out(ids: torch.Tensor) -> None:
    model = build("transformer,depth=2,width=16,causal=on")
    padded = torch.cat([ids, ids[:, :4]], dim=1)
    mask = torch.ones_like(padded)
    mask[:, 11:] = 0

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids)

    whole = probe(model, ids, measures=STEPS)
    found = probe(Masked(), {"input_ids": padded, "attention_mask": mask}, measures=STEPS)
    assert [row.value for row in found.rows] == pytest.approx([row.value for row in whole.rows], rel=1e-5)


def test_a_non_finite_layer_costs_those_on_either_side(ids: torch.Tensor) -> None:
    model = build("transformer,depth=4,width=16")
    model.blocks[1].register_forward_hook(lambda module, args, out: out * math.nan)
    rows = probe(model, ids, measures=["contribution"]).rows
    assert [row.status for row in rows] == ["ok", "undefined", "undefined", "undefined"]
    assert "non-finite" in rows[1].reason


def test_a_layer_of_another_width_says_so() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 12))
    rows = probe(model, torch.randn(2, 9, 8), measures=["contribution"]).rows
    told = [row.reason for row in rows if row.status == "undefined"]
    assert told
    assert set(told) == {"the layer before it is not of its shape"}


def test_over_too_much_memory_it_is_skipped(ids: torch.Tensor) -> None:
    rows = probe(build("transformer,depth=2,width=64"), ids, measures=["contribution"], memory="4KiB").rows
    assert {row.status for row in rows} == {"skipped"}


def test_rules_are_held_against_the_blocks_and_not_their_input(ids: torch.Tensor) -> None:
    report = probe(build("transformer,depth=3,width=16"), ids, measures=["representation_change", "mu"])
    assert [cell.layer_index for cell in covered(report, "representation_change")["blocks.*"]] == [1, 2, 3]
    assert [cell.layer_index for cell in covered(report, "mu")["blocks.*"]] == [0, 1, 2, 3]
