"""The operations of a forward pass: whose results they took, at which place, and that no tensor is kept for it."""

import gc
import weakref

import torch
from torch import nn

from rankscope.capture.graph import WRITE, graph, within
from rankscope.records import Batch


def seen(function, *args):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, *args):
            return function(self, *args)

    return graph(Net(), Batch(args))


def test_operands_are_the_operations_that_made_them():
    watched = seen(lambda net, x: torch.relu(x @ net.weight) + x.mean(-1, keepdim=True), torch.randn(2, 4))
    product, relu, mean, total = watched.operations
    assert [op.name for op in watched.operations] == ["matmul", "relu", "mean", "add"]
    assert total.operands == (relu, mean)
    assert (total.sizes, total.size) == ((8, 2), 8)
    assert total.passed() == [0]
    assert product.weighted
    assert product.mixing
    assert product.operands == mean.operands
    assert within([total], [total, relu]) == [total, relu]


def test_what_depends_on_no_input_is_constant():
    def forward(net, x):
        gain = (1 + net.weight).exp()
        table = torch.arange(4.0).sin()
        return x * gain[0] + table

    watched = seen(forward, torch.randn(2, 4))
    constant = {op.name: op.constant for op in watched.operations}
    assert constant == {"add": False, "exp": True, "__getitem__": True, "arange": True, "sin": True, "mul": False}


def test_looked_up_embeddings_are_no_constants():
    watched = seen(lambda net, ids: nn.functional.embedding(ids, net.weight), torch.tensor([[0, 1]]))
    assert [op.constant for op in watched.operations] == [False]


def test_a_write_through_a_view_reaches_its_base():
    def forward(net, x):
        y = x.clone()
        y[:, 0].copy_(x.sum(-1))
        return y * 2

    watched = seen(forward, torch.randn(2, 4))
    double = watched.operations[-1]
    assert double.operands[0].name == WRITE
    assert {op.name for op in double.operands[0].operands} == {"clone", "copy_"}


def test_hits_are_counted_for_each_function_at_each_place():
    def forward(net, x):
        for _ in range(3):
            x = torch.tanh(x)
        return x

    watched = seen(forward, torch.randn(2, 4))
    assert [op.hit for op in watched.operations] == [0, 1, 2]
    assert {watched.times(op) for op in watched.operations} == {3}


def test_a_graph_keeps_no_activation():
    kept = []

    def forward(net, x):
        y = x @ net.weight
        kept.append(weakref.ref(y))
        return y.sum()

    watched = seen(forward, torch.randn(2, 4))
    gc.collect()
    assert watched.operations
    assert kept[0]() is None
