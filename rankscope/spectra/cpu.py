"""Grams and their eigenvalues on the CPU: one matrix a thread, BLAS held at one thread.

LAPACK's own threads slow a small matrix down and collapse on a busy machine. numpy is used because it turns `a @ a.T`
into a SYRK (half the flops) and, unlike scipy, lets other threads run while it works.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    Matrix = NDArray[np.float64]


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
    return _each(lambda a: a @ a.T if len(a) == n else a.T @ a, stack, (n, n))


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
    return _each(lambda gram: np.linalg.eigvalsh(gram), grams, grams.shape[-1:])


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """The loaded BLAS libraries; looking for them takes longer than a small eigenvalue problem."""
    return ThreadpoolController()


def _each(job: Callable[[Matrix], NDArray[np.floating]], stack: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The job done for each matrix, on as many threads as torch has been given."""
    out = np.empty((len(stack), *shape))

    def work(index: int) -> None:
        out[index] = job(matrices[index])

    matrices = stack.numpy()
    with _libraries().limit(limits=1, user_api="blas"), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(work, range(len(stack))))
    return torch.from_numpy(out)
