"""A module that runs more or less often than when the model was traced is told, never silently left out."""

import pytest
import torch
from nets import Attention, PreNorm, Stack, ids
from torch import nn

from rankscope.capture.plan import plan
from rankscope.capture.session import forward, undisturbed
from rankscope.capture.trace import trace
from rankscope.records import Batch


class Loop(nn.Module):
    """One block, called as often as the batch has tokens over 4."""

    def __init__(self, block):
        super().__init__()
        self.embed, self.block = nn.Embedding(11, 16), block

    def forward(self, x):
        h = self.embed(x)
        for _ in range(x.shape[1] // 4):
            h = self.block(h)
        return h


def told(model, traced, later):
    sentences, seen = [], []
    with torch.no_grad(), undisturbed(model):
        found = plan(trace(model, Batch((traced,))))
        observe = lambda place, tensor: seen.append(place.layer.name)  # noqa: E731 - short
        forward(model, Batch((later,)), found, observe, lambda *_: None, lambda *_: None, sentences.append)
    return sentences, seen


@pytest.mark.parametrize(("tokens", "word"), [(8, "less often"), (16, "more often"), (12, None)])
def test_a_loop_that_depends_on_the_data(tokens, word):
    sentences, seen = told(Loop(PreNorm(16)), ids(2, 12), ids(2, tokens))
    assert len(seen) == 1 + min(3, tokens // 4)
    assert len(sentences) == (word is not None)
    assert all(f"block ran {word} in some batches than the 3 × of its trace" in sentence for sentence in sentences)


class Forked(Attention):
    """Short inputs take another path through attention."""

    def forward(self, x, mask=None):
        if x.shape[1] > 4:
            return super().forward(x)
        q, k, v = self.q(x), self.k(x), self.v(x)
        return x + nn.functional.scaled_dot_product_attention(q, k, v)


def test_attention_that_takes_another_path():
    model = Stack([Forked(16) for _ in range(2)])
    sentences, _ = told(model, ids(2, 9), ids(2, 3))
    assert [sentence.partition(":")[0] for sentence in sentences] == ["blocks.0", "blocks.1"]
    assert all("did not run where it was traced" in sentence for sentence in sentences)
    assert told(model, ids(2, 9), ids(2, 8))[0] == []


def test_a_report_tells_it():
    import rankscope

    report = rankscope.probe(Loop(PreNorm(16)), inputs=[ids(2, 12), ids(2, 16)], measures=["mu"])
    assert "RS425" in {note.code for note in report.notes}
