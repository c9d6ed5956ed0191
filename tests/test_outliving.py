"""What outlives a hook: numbers and Gram matrices, never an activation; and memory that does not grow with batches."""

import contextlib
import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from test_memory import on_a_gpu

from rankscope.measures import resolve
from rankscope.records import Layer
from rankscope.reduction import Reduction

LAYER = Layer("h.*", 1, "h.0", "Block")


def alive(measures, keep=None, shape=(3, 12, 20), dtype=torch.float32):
    """Whether anything holds the memory of an activation once its hook is over; and the reduction."""
    memory = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    watched = weakref.ref(memory)
    tokens = torch.from_numpy(memory)
    reduction = Reduction(resolve(measures))
    with no_garbage_collector():  # what waits for it is held too, and is gigabytes before it comes
        reduction.activation(LAYER, tokens if dtype == torch.float32 else tokens.to(dtype), keep, 0)
        del memory, tokens
        return watched() is not None, reduction


@contextlib.contextmanager
def no_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("measures", [["quick"], ["full"], ["singular_values"], ["mu_1inf"], ["pooled:effective_rank"]])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("gpu", [False, True])
def test_no_activation_is_alive_after_its_hook(monkeypatch, measures, padded, gpu):
    if gpu:
        on_a_gpu(monkeypatch, [])
    keep = torch.ones(3, 12, dtype=torch.bool)
    keep[0, 7:] = False
    held, reduction = alive(measures, keep if padded else None)
    assert not held
    assert {row.status for row in reduction.rows() if row.site == "block"} <= {"ok"}


@pytest.mark.parametrize("measure", ["value_cosine", "value_spectrum", "value_cosine_mixed", "head:value_spectrum"])
def test_no_values_are_alive_after_their_hook(measure):
    memory = np.random.default_rng(0).standard_normal((3, 2, 12, 20))
    made = []

    class Watched(torch.Tensor):
        """A tensor, and all that is made of it, to be counted."""

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            out = super().__torch_function__(func, types, args, kwargs)
            made.extend(weakref.ref(each) for each in torch.utils._pytree.tree_leaves(out) if isinstance(each, cls))
            return out

    with no_garbage_collector():
        reduction = Reduction(resolve([measure]))
        values = torch.from_numpy(memory).as_subclass(Watched)
        reduction.values(LAYER, {"value": values, "mixed_value": values, "first_value": values}, None, 0)
        made.append(weakref.ref(values))
        del values
        alive = [each() for each in made if each() is not None and each().numel() >= 12 * 20]
    assert len(made) > 3
    assert not alive


@pytest.mark.parametrize(("gpu", "tokens", "waiting"), [(True, 12, 4), (False, 12, 4), (False, 260, 0)])
def test_what_stays_is_grams_and_vectors(monkeypatch, gpu, tokens, waiting):
    if gpu:
        on_a_gpu(monkeypatch, [])
    shape = (3, tokens, 400)
    _, reduction = alive(["full"], shape=shape)
    left = [found for *_, found in reduction._deferred._taken]
    assert len(left) == 1
    grams = [gram.shape for gram in left[0].waiting.values()]
    assert grams == [(3, tokens, tokens)] * waiting
    others = [left[0].norms, left[0].common, *left[0].found.values()]
    assert sum(tensor.numel() for tensor in others) < 3 * (tokens * tokens + 400)
    storages = [tensor.untyped_storage().nbytes() for tensor in (*others, *left[0].waiting.values())]
    assert max(storages) < 8 * 3 * tokens * 400, "nor is a view into one kept"


CODE = """
import resource, sys, torch, rankscope
from torch import nn
torch.set_num_threads(1)
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(32, 32)
    def forward(self, x):
        return x + torch.tanh(self.linear(x))
model = nn.Sequential(*[Block() for _ in range(6)])
class Batches(torch.utils.data.IterableDataset):
    def __init__(self, count):
        self.count = count
    def __iter__(self):  # an activation is 0.5 MB, so that all of those of 20 batches would be 73 MB
        for seed in range(self.count):
            yield torch.randn(8, 512, 32, generator=torch.Generator().manual_seed(seed))
def run(batches):
    report = rankscope.probe(model, Batches(batches), measures=["quick", "mu_1inf", "pooled:effective_rank"])
    assert {row.sequences for row in report.rows if row.site == "block"} == {8 * batches}
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
run(1)
print(run(1), run(20))
"""


def test_twenty_batches_take_no_more_than_one():
    pytest.importorskip("resource", reason="only POSIX tells the peak of a process")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    one, twenty = map(int, done.stdout.split() or pytest.fail(done.stderr))
    assert twenty - one < 20e6
