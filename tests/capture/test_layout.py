"""Activations become (batch, tokens, width) by evidence, or say why they cannot."""

import pytest
import torch
from torch import nn

from rankscope.capture.layout import Axes, Unmeasurable, arrange, axes
from rankscope.records import Batch

X = torch.randn


@pytest.mark.parametrize(
    ("batch", "given", "declared", "expected"),
    [
        (Batch((torch.zeros(2, 9, dtype=torch.long),)), None, None, Axes(2, 9, None)),
        (Batch((torch.zeros(9, 2, dtype=torch.long),)), "tbd", None, Axes(2, 9, "tbd")),
        (Batch((X(2, 9, 4),)), None, None, Axes(2, 9, None)),
        (Batch((X(9, 2, 4),)), None, (torch.Size([9, 2, 4]), False), Axes(2, 9, "tbd")),
        (Batch((X(2, 9, 4),)), None, (torch.Size([9, 2, 4]), False), Axes(2, 9, None)),
        (Batch((X(9, 2, 4),)), None, (torch.Size([9, 2, 4]), True), Axes(9, 2, None)),
        (Batch((X(7, 4),)), None, None, Axes(1, 7, "bd")),
        (Batch((X(2, 3, 8, 8),)), None, None, Axes(2, None, None)),
        (Batch((), {"x": X(2, 3, 8)}), "bct", None, Axes(2, None, "bct")),
        (Batch((X(9, 2, 4),), keep={"m": torch.ones(2, 9, dtype=torch.bool)}), "tbd", None, Axes(2, 9, "tbd")),
    ],
)
def test_axes(batch, given, declared, expected):
    assert axes(batch, given, declared) == expected


def test_no_tensor_at_all():
    with pytest.raises(Unmeasurable, match="no tensor"):
        axes(Batch(("text",)), None)


LINEAR, CONV1, CONV2 = nn.Linear(4, 4), nn.Conv1d(4, 4, 1), nn.Conv2d(4, 4, 1)
MARK = X(2, 9, 4)  # the answer: every case below is a rearrangement of it


@pytest.mark.parametrize(
    ("tensor", "module", "where"),
    [
        (MARK, LINEAR, Axes(2, 9, None)),
        (MARK.transpose(0, 1), LINEAR, Axes(2, 9, None)),
        (MARK.transpose(0, 1), LINEAR, Axes(2, 9, "tbd")),
        (MARK.transpose(1, 2), CONV1, Axes(2, None, None)),
        (MARK.transpose(1, 2), LINEAR, Axes(2, None, "bct")),
        (MARK.flatten(0, 1), LINEAR, Axes(2, 9, None)),
        (MARK.reshape(6, 3, 4), LINEAR, Axes(2, 9, None)),
        (MARK.transpose(1, 2).reshape(2, 4, 3, 3), nn.Conv2d(4, 4, 1), Axes(2, None, None)),
        (MARK.reshape(2, 3, 3, 4), nn.LayerNorm(4), Axes(2, None, None)),
        (MARK.reshape(2, 3, 3, 4), nn.Conv2d(3, 3, 1), Axes(2, None, "bhwc")),
    ],
    ids=["btd", "tbd", "tbd_said", "bct", "bct_said", "flat", "windows", "bchw", "bhwc", "bhwc_said"],
)
def test_arrange(tensor, module, where):
    assert torch.equal(arrange(tensor, module, where), MARK)


@pytest.mark.parametrize(
    ("shape", "where", "reason"),
    [
        ((4, 9, 8), Axes(2, 9, None), "several residual streams"),  # hyper-connections
        ((81, 9, 8), Axes(9, 9, None), "several residual streams"),  # as many sequences as tokens
        ((3, 9, 8), Axes(1, 9, None), "several residual streams"),
        ((2, 9, 3, 8), Axes(2, 9, None), "several residual streams"),
        ((3, 2, 9, 8), Axes(2, 9, None), "several residual streams"),
        ((2, 2, 6, 8), Axes(2, 9, None), "--layout bhwc"),  # channels of a time series, or heads
    ],
)
def test_what_several_axes_could_count_is_not_read_by_chance(shape, where, reason):
    with pytest.raises(Unmeasurable, match=reason):
        arrange(X(*shape), LINEAR, where)


@pytest.mark.parametrize(
    ("shape", "module", "where", "tokens"),
    [
        ((2, 3, 3, 4), LINEAR, Axes(2, 9, None), 9),  # the tokens of a sequence on a grid
        ((2, 1, 6, 4), LINEAR, Axes(2, 9, None), 6),
        ((2, 4, 5, 5), CONV2, Axes(2, 9, None), 25),  # an image beside a text
        ((2, 2, 6, 4), LINEAR, Axes(2, 9, "bhwc"), 12),
    ],
)
def test_a_grid_that_evidence_speaks_for_is_read(shape, module, where, tokens):
    assert arrange(X(*shape), module, where).shape[1] == tokens


def test_a_matrix_of_an_mlp_is_one_sequence():
    assert arrange(X(7, 4), LINEAR, Axes(1, 7, "bd")).shape == (1, 7, 4)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (X(5), "no tokens"),
        (X(5, 4), "which of the 2 sequences cannot be told"),
        (X(5, 3, 4), "no axis counts the 2 sequences"),
        (X(3, 3, 4, 4), "does not count the 2 sequences"),
        (torch.zeros(2, 3, 4, dtype=torch.complex64), "complex"),
        (torch.zeros(2, 3, 4).to_sparse(), "sparse"),
    ],
)
def test_what_cannot_be_read_says_why(tensor, reason):
    with pytest.raises(Unmeasurable, match=reason):
        arrange(tensor, LINEAR, Axes(2, None, None))
