"""Contenders: what is timed against what; each takes a job and does all of its work, from options to report."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks import edited, peers
from rankscope import probe
from rankscope.moments import moments, solve

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from benchmarks.setting import Job, Setting
    from rankscope.measures import Form

CHEAP = ("mu", "mu_bar", "token_norm_ratio", "participation_ratio", "stable_rank")
SAME = ("mu", "effective_rank", "stable_rank", "participation_ratio", "numerical_rank")
"""What the naive hook computes, in its order."""
FORMS: tuple[Form, ...] = ("raw", "unit")
"""Of the exact spectra of `forward`."""
EPS32 = 2.0**-23
Numbers = dict[tuple[int, int], tuple[float, ...]]


def plain(job: Job) -> None:
    """The model alone, without gradients."""
    job.forward()


def backward(job: Job) -> None:
    """Forward and backward of next-token cross-entropy, gradients of all weights; nothing is measured."""
    weights = list(job.model.parameters())
    for ids in job.batches:
        logits = job.model(ids)
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        torch.autograd.grad(loss, weights)


def ours(*measures: str, **options: Any) -> Callable[[Job], Any]:
    """`rankscope.probe`: options read, model traced, batches measured, report made."""
    return lambda job: probe(job.model, job.batches, measures=measures, **{"device": "cpu", **options})


def spectra(setting: Setting, tokens: Tensor) -> None:
    """What `forward` does for its raw and unit spectra and for nothing else, of the same tokens in every layer."""
    for _ in range(setting.batches):
        solve([moments(tokens, [(form, "spectrum") for form in FORMS]) for _ in range(setting.depth + 1)])


def naive(job: Job) -> Numbers:
    """The hook that users write: an SVD of each sequence in float32, and the numbers of `SAME` from it."""
    found: Numbers = {}
    seen = 0

    def hook(layer: int, output: Tensor) -> None:
        for sequence, tokens in enumerate(output):
            found[layer, seen + sequence] = naive_numbers(tokens.float())

    blocks: list[nn.Module] = list(job.model.blocks)  # type: ignore[arg-type] # torch types submodules as tensors too
    handles = [blocks[0].register_forward_pre_hook(lambda _m, given: hook(0, given[0]))]
    handles += [
        block.register_forward_hook(lambda _m, _g, output, layer=layer: hook(layer, output))
        for layer, block in enumerate(blocks, 1)
    ]
    try:
        with torch.no_grad():
            for ids in job.batches:
                job.model(ids)
                seen += len(ids)
    finally:
        for handle in handles:
            handle.remove()
    return found


def naive_numbers(tokens: Tensor) -> tuple[float, ...]:
    """mu, effective rank, stable rank, participation ratio and numerical rank of (tokens, width) by float32 SVD."""
    sigma = torch.linalg.svdvals(tokens)
    share, energy = sigma / sigma.sum(), sigma.square()
    return (
        (tokens - tokens.mean(0, keepdim=True)).norm().item(),
        torch.exp(-torch.xlogy(share, share).sum()).item(),
        (energy.sum() / energy[0]).item(),
        (energy.sum().square() / energy.square().sum()).item(),
        float((sigma > max(tokens.shape) * EPS32 * sigma[0]).sum()),
    )


def numbers(report: Any) -> Numbers:
    """The same numbers out of a report of `SAME`."""
    columns = {name: {row.layer_index: row.samples for row in report.rows if row.measure == name} for name in SAME}
    return {
        (layer, sequence): tuple(columns[name][layer][sequence] for name in SAME)
        for layer, samples in columns["mu"].items()
        for sequence in range(len(samples))
    }


def disagreement(one: Numbers, other: Numbers) -> float:
    """The largest relative difference; infinite where the numbers are not of the same places."""
    if one.keys() != other.keys() or not one:
        return math.inf
    pairs = [pair for place in one for pair in zip(one[place], other[place], strict=True)]
    differences = [abs(a - b) / abs(b) for a, b in pairs]
    return max(differences) if all(map(math.isfinite, differences)) else math.inf


CONTENDERS: dict[str, Callable[[Job], Any]] = {
    "plain": plain,
    "backward": backward,
    "forward": ours("forward"),
    "quick": ours("quick"),
    "full": ours("full"),
    "cheap": ours(*CHEAP),
    "same": ours(*SAME),
    "pooled": ours("pooled:effective_rank_centered"),
    "spectra": lambda job: spectra(job.setting, job.activation),
    "naive": naive,
    **edited.CONTENDERS,
    **{name: partial(peers.run, peer) for name, peer in peers.PEERS.items()},
}
