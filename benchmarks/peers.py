"""Peers: other packages on the same model and inputs, each used as its own users would.

They are installed by `make bench` alone; one that is not there is reported as not measured.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import time
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from benchmarks.setting import Job

Details = dict[str, Any]


def delve(job: Job) -> Details:
    """delve: intrinsic dimension of the pooled covariance, on the last linear map of every block.

    It hooks linear maps only, and of three-dimensional outputs keeps the last token: its own tokens are laid flat for
    it here. The other linear maps are left out, to give it as many spectra of as many features as the blocks have.
    """
    from delve.torchcallback import SaturationTracker

    class OfTokens(SaturationTracker):  # type: ignore[misc] # the package has no types
        def _record_stat(self, activations: Tensor, *rest: Any) -> None:
            super()._record_stat(activations.flatten(0, -2), *rest)

    def last(layers: dict[str, nn.Module]) -> dict[str, nn.Module]:
        return {name: layer for name, layer in layers.items() if name.endswith("mlp-mixer-down")}

    logging.getLogger("delve").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        tracker = OfTokens(folder, "csv", job.model, layer_filter=last, stats=["idim"], device="cpu")
        for ids in job.batches:
            job.model(ids)
        tracker.add_saturations(save=False)
        for layer in tracker.layers.values():
            layer._forward_hooks.clear()  # its own close() leaves them
        return {"layers": len(tracker.layers)}


def torchlens(job: Job) -> Details:
    """TorchLens: a full trace, then its own `effective_dimensionality` of every sequence after every block."""
    import torchlens as tl
    from torchlens.repgeom import effective_dimensionality

    start = time.perf_counter()
    layers, traced = 0, 0.0
    for ids in job.batches:
        with torch.no_grad():
            trace = tl.trace(job.model, ids)
        traced += time.perf_counter() - start
        for block in range(job.setting.depth):
            for tokens in trace[f"blocks.{block}"].out:
                effective_dimensionality(tokens)
            layers += 1
        start = time.perf_counter()
    return {"layers": layers, "trace_s": traced}


def weightwatcher(job: Job) -> Details:
    """weightwatcher: spectra of the weights; no input is run, so it is another job, told for its size only."""
    import weightwatcher as ww

    logging.getLogger("weightwatcher").setLevel(logging.ERROR)
    return {"layers": len(ww.WeightWatcher(model=job.model).analyze())}


def rankme(job: Job) -> Details:
    """The arithmetic of RankMe in stable-pretraining 0.1.8 (callbacks/rankme.py), on the pooled tokens of every block.

    Written anew after reading: there it belongs to a Lightning callback and sees one embedding. float32, not centred,
    1e-5 added to every share, and not made to add up to 1 again.
    """
    pools: list[list[Tensor]] = [[] for _ in range(job.setting.depth)]

    def keep(pool: list[Tensor]) -> Callable[..., None]:
        return lambda _module, _given, output: pool.append(output.flatten(0, 1))

    blocks: list[nn.Module] = list(job.model.blocks)  # type: ignore[arg-type] # torch types submodules as tensors too
    handles = [block.register_forward_hook(keep(pool)) for block, pool in zip(blocks, pools, strict=True)]
    with torch.no_grad():
        for ids in job.batches:
            job.model(ids)
        for pool in pools:
            sigma = torch.linalg.svdvals(torch.cat(pool).float())
            share = sigma / sigma.sum() + 1e-5
            torch.exp(-torch.sum(share * torch.log(share))).item()
    for handle in handles:
        handle.remove()
    return {"layers": len(pools)}


PEERS: dict[str, Callable[[Job], Details]] = {
    "delve": delve,
    "torchlens": torchlens,
    "weightwatcher": weightwatcher,
    "rankme": rankme,
}


def run(peer: Callable[[Job], Details], job: Job) -> Details:
    """Run a peer with its prints kept off the screen."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        details = peer(job)
    if peer is not rankme:
        details["version"] = version(peer.__name__)
    return details
