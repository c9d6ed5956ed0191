"""Grams and their eigenvalues on the CPU: a few matrices a thread, the libraries held at one thread each.

LAPACK's own threads slow a small matrix down and collapse on a busy machine. numpy is used for the Gram: it turns
`a @ a.T` into a SYRK (half the flops); torch for the eigenvalues: the LAPACK it brings is the faster one on most
machines; both let other threads run while they work, which scipy does not. Small matrices go several to a call: between
calls threads wait for each other, as only one of them can be in Python.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import pairwise
from threading import Barrier, Semaphore, local
from typing import TYPE_CHECKING, TypeVar

import torch
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

A = TypeVar("A")
T = TypeVar("T")
_held = local()  # whether libraries are at one thread in this one
CACHED = 4 << 20
"""Bytes of float64 that one thread works on at a time, where one matrix is not larger."""
SHARED = 4 << 20
"""Bytes of float64 that all threads work on together; more would come fresh from the system each time, page by page."""


def grams(stack: Tensor) -> Tensor:
    """Gram matrix of the smaller side: `a aᵀ` of a wide matrix, `aᵀ a` of a tall one.

    Args:
        stack: (batch, rows, width) float64 on the CPU.

    Returns:
        (batch, n, n), n = min(rows, width).

    Example:
        >>> grams(torch.tensor([[[3.0, 4.0]]], dtype=torch.float64)).tolist()
        [[[25.0]]]
    """
    n = min(stack.shape[-2:])
    return _filled((n, n), stack, gram)


def gram(matrices: Tensor) -> Tensor:
    """Gram matrix of the smaller side of one matrix or of several, on one thread.

    Args:
        matrices: (*batch, rows, width) float64 on the CPU.

    Returns:
        (*batch, n, n), n = min(rows, width).

    Example:
        >>> gram(torch.tensor([[3.0], [4.0]], dtype=torch.float64)).tolist()
        [[25.0]]
    """
    a = matrices.numpy()
    turned = a.swapaxes(-1, -2)
    return torch.from_numpy(a @ turned if a.shape[-2] <= a.shape[-1] else turned @ a)


def shared_grams(stack: Tensor) -> Tensor:
    """Gram matrix of the smaller side; outside a job by torch's own threads, which a model leaves awake.

    They take the matrices one after the other, so that no Gram depends on how many there are.

    Args:
        stack: (batch, rows, width) float64 on the CPU.

    Returns:
        (batch, n, n), n = min(rows, width).

    Example:
        >>> shared_grams(torch.tensor([[[3.0, 4.0]]], dtype=torch.float64)).tolist()
        [[[25.0]]]
    """
    if getattr(_held, "at_one", False):
        return gram(stack)
    out = stack.new_empty(len(stack), *2 * [min(stack.shape[-2:])])
    for matrix, into in zip(stack if stack.shape[-2] <= stack.shape[-1] else stack.mT, out, strict=True):
        torch.mm(matrix, matrix.mT, out=into)
    return out


def eigenvalues(grams: Tensor) -> Tensor:
    """Eigenvalues of symmetric matrices by LAPACK's `syevd`, values only.

    Args:
        grams: (batch, n, n) float64 on the CPU.

    Returns:
        (batch, n), ascending; rounding can leave small negative ones.

    Example:
        >>> eigenvalues(torch.eye(2, dtype=torch.float64).unsqueeze(0)).tolist()
        [[1.0, 1.0]]
    """
    return _filled(grams.shape[-1:], grams, lambda some: torch.linalg.eigvalsh(some, UPLO="U"))


def _filled(shape: tuple[int, ...], stack: Tensor, job: Callable[[Tensor], Tensor]) -> Tensor:
    """What a job gives of each matrix, (batch, *shape)."""
    parts = slices(len(stack), 8 * stack.shape[-2] * stack.shape[-1])
    if len(parts) == 1:
        return in_threads(job, [stack])[0]
    out = stack.new_empty(len(stack), *shape)

    def fill(part: slice) -> None:
        out[part] = job(stack[part])

    in_threads(fill, parts)
    return out


def slices(count: int, each: int, at_once: int | None = None) -> list[slice]:
    """Cut things of one size into the parts that one thread works on at a time, so that all threads have as many.

    Args:
        count: how many there are.
        each: bytes of one.
        at_once: the most to work on at a time on all threads.

    Returns:
        The parts; all in one in a job, which has one thread.

    Example:
        >>> slices(5, CACHED // 2, 1)
        [slice(0, 1, None), slice(1, 2, None), slice(2, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    if getattr(_held, "at_one", False) or not count:
        return [slice(0, count)]
    threads = torch.get_num_threads()
    most = max(1, min(CACHED // max(1, each), count if at_once is None else at_once // threads))
    parts = -(-count // most)
    parts = min(count, -(-parts // threads) * threads)
    ends = [count * part // parts for part in range(parts + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


def together(count: int, each: int, at_once: int | None = None) -> int:
    """How many things of one size all threads work on together.

    Args:
        count: how many there are.
        each: bytes of one.
        at_once: the most to work on at a time.

    Returns:
        The number, at least 1.

    Example:
        >>> together(5, SHARED // 2), together(5, 2 * SHARED)
        (2, 1)
    """
    return max(1, min(count if at_once is None else at_once, SHARED // max(1, each)))


def in_threads(job: Callable[[A], T], items: Sequence[A], at_once: int | None = None) -> list[T]:
    """The job done for each item, on as many threads as torch has been given; in a job, libraries use one.

    Args:
        job: takes an item.
        items: what it is done for.
        at_once: the most jobs under way at a time, where not every thread may work.

    Returns:
        What the jobs gave, in order.

    Example:
        >>> in_threads(abs, [1, -2, 3])
        [1, 2, 3]
    """
    threads = torch.get_num_threads()
    if getattr(_held, "at_one", False):
        return [job(item) for item in items]
    with _libraries().limit(limits=1, user_api="blas"):
        if threads > 1:
            inference = torch.is_inference_mode_enabled()  # a mode is a thread's own
            gate = Semaphore(at_once or threads)
            return list(_pool(threads, os.getpid()).map(partial(_inside, inference, gate, job), items))
        try:
            _held.at_one = True
            return [job(item) for item in items]
        finally:
            _held.at_one = False


def _inside(inference: bool, gate: Semaphore, job: Callable[[A], T], item: A) -> T:
    """A job for an item in the mode of the thread that gave it."""
    with gate, torch.inference_mode(inference):
        return job(item)


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads for jobs; kept, for starting them takes longer than a small eigenvalue problem."""
    del process  # a forked child has none of its parent's threads
    pool = ThreadPoolExecutor(threads, "rankscope", initializer=_hold)
    started = Barrier(threads)
    list(pool.map(lambda _: started.wait(), range(threads)))
    torch.set_num_threads(threads)  # the setting is a thread's own, but later threads begin with the last one
    return pool


def _hold() -> None:
    torch.get_num_threads()  # else the first parallel call of this thread takes over the number of the last setting
    torch.set_num_threads(1)
    _held.at_one = True


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """The loaded BLAS libraries; looking for them takes longer than a small eigenvalue problem."""
    return ThreadpoolController()
