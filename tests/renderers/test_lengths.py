from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

import rankscope
from rankscope.renderers import RENDERERS, Style


def test_sequences_of_several_lengths_are_told_by_the_shortest_and_the_longest() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    report = rankscope.probe(model, [torch.randn(1, 12, 8), torch.randn(2, 20, 8)], measures="mu")
    text = RENDERERS["table"].text(report, Style(columns=80))
    assert "3 sequences of 12 to 20 tokens" in text
    assert ", up to 20 × 8" in text
    old = replace(report, inputs={key: value for key, value in report.inputs.items() if key != "lengths"})
    assert "3 sequences, 52 tokens" in RENDERERS["table"].text(old, Style(columns=80))
