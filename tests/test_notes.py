"""Notes about a common direction and about what is kept apart."""

import pytest
import torch
from reports import EPS, block_row, rows_of_depth

from rankscope.depth import verdicts
from rankscope.measures import resolve
from rankscope.notes import common_direction, kept_apart, partial_gradients
from rankscope.records import Layer, Vector
from rankscope.reduction import Reduction

LAYERS = [Layer("blocks", k, "blocks.0.input" if k == 0 else f"blocks.{k - 1}", "Block") for k in range(3)]


def directed(strength, width=64, batch=3, tokens=30):
    """Tokens of norm about 1 that share a direction, most of which lies in the features 5, 17 and 40."""
    generator = torch.Generator().manual_seed(0)
    shared = 0.1 * torch.randn(width, generator=generator)
    shared[[5, 17, 40]] = torch.tensor([3.0, -2.0, 2.5])
    noise = torch.randn(batch, tokens, width, generator=generator) / width**0.5
    return strength * shared / shared.norm() + noise, shared


def told(activations, residuals):
    reduction = Reduction(resolve(["rank_one_residual_unit"]))
    for layer, tokens in zip(LAYERS, activations, strict=True):
        reduction.activation(layer, tokens, None, 0)
    rows = rows_of_depth(residuals, floor=4 * EPS)
    return list(common_direction(reduction.common, verdicts(rows, EPS)[0], rows))


def test_the_features_that_carry_a_common_direction_are_named():
    tokens, shared = directed(10.0)
    share = (shared[[5, 17, 40]].square().sum() / shared.square().sum()).item()
    (note,) = told([tokens, tokens, tokens], [0.9, 0.1, 0.1])
    assert note.code == "RS512"
    assert note.text.startswith("blocks: at blocks.0, features 5, 17 and 40 carry ")
    assert float(note.text.split("carry ")[1].split(" %")[0]) == pytest.approx(100 * share, abs=2)


def test_the_share_is_that_of_the_mean_unit_token_averaged_over_sequences():
    tokens, _ = directed(2.0)
    tokens[0] *= 100  # unit rows: a loud sequence counts no more than the others
    keep = torch.arange(30).expand(3, 30) < torch.tensor([30, 20, 10]).unsqueeze(1)
    reduction = Reduction(resolve(["mu_unit"]))
    reduction.activation(LAYERS[1], tokens[:2], keep[:2], 0)
    reduction.activation(LAYERS[1], tokens[2:], keep[2:], 2)
    expected, sizes = [], []
    for y, k in zip(tokens.double(), keep, strict=True):
        gamma = (y[k] / y[k].norm(dim=1, keepdim=True)).mean(0)
        expected.append(gamma.square() / gamma.square().sum())
        sizes.append(gamma.square().sum())
    common = reduction.common[LAYERS[1]]
    torch.testing.assert_close(common.shares / common.sequences, torch.stack(expected).mean(0))
    assert common.size == pytest.approx(float(sum(sizes)))


def test_nothing_is_named_where_no_direction_is_shared():
    tokens, _ = directed(10.0)
    assert told([tokens] * 3, [0.9, 0.8, 0.7]) == [], "healthy"
    up_to_sign = tokens * torch.where(torch.arange(30) % 2 == 0, 1.0, -1.0).unsqueeze(1)
    assert told([up_to_sign] * 3, [0.9, 0.1, 0.1]) == [], "parallel up to sign: the mean is small"
    assert told([tokens] * 3, [0.9, EPS, EPS]) == [], "at the noise floor"
    assert told([tokens[..., :3]] * 3, [0.9, 0.1, 0.1]) == [], "three features are always all of it"
    rich, _ = directed(0.5)
    rank = [block_row("effective_rank_unit", k, 1.5, reference=41.0) for k in range(3)]
    rows = [*rows_of_depth([0.9, 0.9, 0.9]), *rank]
    reduction = Reduction(resolve(["mu_unit"]))
    reduction.activation(LAYERS[1], rich, None, 0)
    depth = verdicts(rows, EPS)[0]
    assert depth[0].verdict == "thinning"
    assert list(common_direction(reduction.common, depth, rows)) == [], "thin by its rank alone"


def test_tokens_of_extreme_size_and_zeros_do_not_break_it():
    tokens, _ = directed(10.0)
    strange = torch.stack([torch.zeros_like(tokens[0]), tokens[1] * 1e-300, tokens[2]]).double()
    reduction = Reduction(resolve(["mu_unit"]))
    reduction.activation(LAYERS[1], strange, None, 0)
    common = reduction.common[LAYERS[1]]
    assert bool(torch.isfinite(common.shares).all())
    assert common.shares.sum().item() == pytest.approx(common.sequences)


def test_what_is_kept_apart_is_told_once():
    vectors = [Vector("h", k, f"h.{k}", "block", "sequence", None, None, "singular_values", 1) for k in range(3)]
    (note,) = kept_apart(vectors)
    assert note.code == "RS513"
    assert note.text.startswith("singular_values: ")
    assert list(kept_apart([])) == []


def test_over_how_many_weights_a_measure_of_gradients_is_told():
    import rankscope
    from rankscope.zoo import build

    model = build("transformer,depth=3,width=16")
    torch.nn.init.zeros_(model.blocks[1].mlp.mixer.down.weight)  # no gradient reaches the other map of this MLP
    report = rankscope.probe(model, torch.randint(256, (2, 16)), measures=["grad_condition"])
    rows = [row for row in report.rows if row.measure == "grad_condition"]
    without = [row for row in rows if row.status != "ok"]
    assert 0 < len(without) < len(rows)
    text = next(note.text for note in report.notes if note.code == "RS534")
    assert text.startswith(f"grad_condition is over {len(rows) - len(without)} of {len(rows)} weights")
    assert list(partial_gradients(without)) == []
