"""Pooling: the tokens of all sequences of a layer as one matrix, of which a width × width sum is kept."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from rankscope.cells import Sample, sample
from rankscope.groups import CHUNK_BYTES
from rankscope.measures import evaluate, norm
from rankscope.spectra import Pooled, cpu
from rankscope.sums import Place, Sums

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from rankscope.cells import Cell
    from rankscope.collection import Collection
    from rankscope.groups import Group
    from rankscope.measures import Request
    from rankscope.memory import Memory
    from rankscope.records import Layer, Spectrum

Key = tuple["Layer", bool]  # whether tokens are scaled to unit norm first


class Pooling:
    """Takes activations layer by layer; `finish` solves the pools of all layers together.

    Args:
        collection: where samples go.
        requests: measures of the pooled scope.
        memory: the allowance; each pool is held to the end.
    """

    def __init__(self, collection: Collection, requests: Sequence[Request], memory: Memory) -> None:
        self._collection, self._memory = collection, memory
        self._requests = {unit: [r for r in requests if r.form.startswith("unit") == unit] for unit in (False, True)}
        self._pools: dict[Key, Pooled] = {}
        self._whole: dict[Key, tuple[Pooled, Place]] = {}

    def add(self, layer: Layer, group: Group, dtype: torch.dtype) -> None:
        """Add the tokens of sequences of equal length."""
        wanted = {
            unit: requests for unit, requests in self._requests.items() if requests and self._has(layer, unit, group)
        }
        if not wanted:
            return
        finite = self._collection.finite(layer, [r for requests in wanted.values() for r in requests], group, dtype)
        rows, width = group.tokens.shape[1:]
        if not finite.numbers:
            return
        tokens = finite.tokens.flatten(0, 1)
        for unit, requests in wanted.items():
            self._pool(tokens, unit, self._pools[layer, unit])
            for request in requests:
                cell = self._collection.cell(request, layer)
                cell.samples += [Sample(number, 0.0, rows, width) for number in finite.numbers]

    def take(self, layer: Layer, unit: bool, pool: Pooled, sequences: int, dtype: torch.dtype) -> None:
        """Add a pool of another run.

        Args:
            layer: where it is from.
            unit: whether its tokens are scaled to unit norm.
            pool: it is left as it is.
            sequences: how many it is of.
            dtype: the dtype that the model computed in.

        Raises:
            ValueError: the one that is here has another width.
        """
        mine = self._pools.setdefault((layer, unit), Pooled())
        self._memory.held += _bytes(len(pool.origin)) if not mine.count else 0
        mine.merge(pool)
        for request in self._requests[unit]:
            cell = self._collection.cell(request, layer, dtype=dtype)
            cell.samples += [Sample(0, 0.0, pool.count, len(pool.origin))] * sequences

    def sums(self) -> tuple[Sums, ...]:
        """The pools that hold every sequence, once they are solved; on the CPU."""
        return tuple(
            Sums(place, *(tensor.cpu().numpy() for tensor in (pool.origin, pool.offset, pool.scatter)))
            for pool, place in self._whole.values()
        )

    def _has(self, layer: Layer, unit: bool, group: Group) -> bool:
        """Whether there is a pool, or memory for one: of its sum, and of what is made from it when it is solved."""
        requests, width = self._requests[unit], group.tokens.shape[2]
        if self._collection.cell(requests[0], layer).failure is not None:
            return False
        if (layer, unit) not in self._pools:
            reason = self._memory.refusal(5 * _bytes(width), f"a pooled spectrum of width {width}")
            if reason is not None:
                self._collection.fail(requests, layer, "skipped", reason)
                return False
            self._memory.held += _bytes(width)
            self._pools[layer, unit] = Pooled()
        return True

    def _pool(self, tokens: Tensor, unit: bool, pool: Pooled) -> None:
        """Add tokens, on the threads that the model leaves awake."""
        whole = max(1, self._memory.share(16, CHUNK_BYTES) // (8 * tokens.shape[1]))
        for piece in torch.split(tokens, whole):
            pool.add(_unit(piece.double()) if unit else piece)

    def finish(self) -> None:
        """Turn the samples of cells, which only say what went into a pool, into the one value of the pool."""
        pools, self._pools = self._pools, {}
        wanted: dict[tuple[Layer, str], list[Cell]] = {}
        for key, pool in pools.items():
            for cell in self._open(key):
                least = cell.request.measure.min_tokens
                cell.sequences = len(cell.samples)
                dtype = str(cell.dtype).removeprefix("torch.")
                self._whole[key] = pool, Place(key[0].stack, key[0].index, key[1], pool.count, cell.sequences, dtype)
                if pool.count < least:
                    few = f"fewer than {least} {'non-zero ' if key[1] else ''}tokens"
                    cell.samples = [Sample(0, None, pool.count, cell.samples[0].width, few)]
                else:
                    wanted.setdefault((key[0], cell.request.form), []).append(cell)
        left = max(1, self._memory.total - self._memory.held)
        most = max((_bytes(len(pool.origin)) for pool in pools.values()), default=1)
        found = cpu.in_threads(partial(_solved, pools), list(wanted), max(1, left // max(1, 4 * most)))
        for cells, spectrum in zip(wanted.values(), found, strict=True):
            for cell in cells:
                _fill(cell, spectrum)
        self._memory.held -= sum(_bytes(len(pool.origin)) for pool in pools.values())

    def _open(self, key: Key) -> Iterator[Cell]:
        """The cells of a pool that nothing stands against."""
        for request in self._requests[key[1]]:
            cell = self._collection.cell(request, key[0])
            if not cell.failure and not any(each.reason for each in cell.samples):
                yield cell


def _bytes(width: int) -> int:
    return 8 * width * width


def _unit(tokens: Tensor) -> Tensor:
    """Tokens of unit norm, zero ones left out."""
    norms = norm(tokens, -1)
    if not bool((norms > 0).all()):
        tokens, norms = tokens[norms > 0], norms[norms > 0]
    return tokens / norms.unsqueeze(-1)


def _solved(pools: dict[Key, Pooled], place: tuple[Layer, str]) -> Spectrum | Exception:
    """The spectrum of a pool in a form, or why there is none."""
    layer, form = place
    try:
        return pools[layer, form.startswith("unit")].spectrum(centered=form.endswith("centered"))
    except Exception as error:
        return error


def _fill(cell: Cell, found: Spectrum | Exception) -> None:
    try:
        if isinstance(found, Exception):
            raise found  # noqa: TRY301 - as a measure that fails
        values, errors = evaluate(cell.request, spectrum=found)
    except Exception as error:
        cell.failure = ("error", f"{type(error).__name__}: {error}")
        return
    bound = None if errors is None else errors.tolist()
    shape = (found.rows, found.width)
    cell.samples = [sample(0, values.tolist(), shape, cell.request.measure.undefined, bound)]
