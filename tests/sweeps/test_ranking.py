from __future__ import annotations

from dataclasses import replace

import numpy as np
from swept import over_layers

import rankscope
from rankscope.sweeps.ranking import told_apart
from rankscope.sweeps.words import sentence


def test_a_clear_difference_is_told_and_noise_is_not() -> None:
    noise = np.random.default_rng(0)
    first = (1 + 0.1 * noise.standard_normal(16)).tolist()
    near = (1 + 0.1 * noise.standard_normal(16)).tolist()
    far = (0.2 + 0.1 * noise.standard_normal(16)).tolist()
    assert told_apart([first, near, far, first]) == [True, True, False, True]


def test_few_sequences_tell_nothing() -> None:
    assert told_apart([[1.0, 2.0], [5.0, 6.0], []]) == [True, None, None]


def test_layers_that_noise_cannot_tell_apart_are_named_together() -> None:
    sweep = over_layers()
    assert sentence(sweep).startswith("Layer 1 matters most to the loss (+0.5), layer 5 least (+0.1).")
    same = tuple(replace(effect, as_first=effect.rank < 3) for effect in sweep.ranking)
    assert sentence(replace(sweep, ranking=same)).startswith(
        "Layers 1 and 2 cannot be told apart by the loss, and matter most (+0.5 to +0.25); layer 5 least (+0.1)."
    )
    every = tuple(replace(effect, as_first=True) for effect in sweep.ranking)
    assert sentence(replace(sweep, ranking=every)).startswith(
        "Layers 1, 2, 3 and 2 more cannot be told apart by the loss: +0.5 to +0.1."
    )


def test_an_edit_that_changes_nothing_ranks_no_layer_above_another() -> None:
    found = rankscope.sweep(
        "zoo:transformer,depth=3,width=16,heads=2",
        edit="lambda_skip=1@*",
        random="ids=8x16:int64:0..255",
        measures="rank_one_residual_unit",
    )
    assert [effect.as_first for effect in found.ranking] == [True, True, True]
    assert "cannot be told apart" in sentence(found)
