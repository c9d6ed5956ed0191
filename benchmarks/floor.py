"""Floor: what exact spectra must cost at least, counted in flops and bytes, at rates measured in the same run.

Counted for each matrix of N tokens of d features, n = min(N, d), m = max(N, d), and each of the two forms of the preset
`forward` (raw, and unit, whose Gram is the raw one scaled):

    Gram                n(n + 1)m flops, once             at the rate of a float64 matrix product
    tridiagonalisation  4n³/3 flops a form, half of them  at that rate
                        the other half matrix times vector: n³/6 entries read, at the rate of a matrix-vector product
    passes              tokens read once, their float64 copy written once, a Gram written and read a form: at the
                        bandwidth of a copy

The eigenvalues of the tridiagonal matrix (order n²) are left out, and so is everything that is not a spectrum.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.contenders import FORMS, spectra
from benchmarks.timing import seconds
from rankscope.spectra.cpu import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.setting import Setting

MOST = 10_000  # calls a timing
COPIED = 1 << 28  # bytes; larger than the caches of most machines


def counted(setting: Setting) -> dict[str, float]:
    """Flops and bytes of all spectra of a setting, in the terms above."""
    n, m = sorted((setting.tokens, setting.width))
    forms, matrices = len(FORMS), setting.spectra
    return {
        "gram_flops": matrices * n * (n + 1) * m,
        "tridiagonal_flops": matrices * forms * 4 * n**3 / 3,
        "vector_bytes": matrices * forms * 8 * n**3 / 6,
        "pass_bytes": matrices * (12 * n * m + forms * 16 * n * n),
    }


def ceilings(n: int, m: int, threads: int, copied: int = COPIED) -> dict[str, float]:
    """Rates of this machine, all threads at work: flops/s of a product n×m×n, bytes/s of A·x with A n×n, and of a copy.

    Args:
        n: the smaller side.
        m: the larger side.
        threads: how many.
        copied: bytes that are copied.

    Returns:
        `gemm`, `vector` and `copy`.
    """
    torch.set_num_threads(threads)
    a, b, x = np.ones((n, m)), np.ones((m, n)), np.ones(n)
    square, target, source = np.ones((n, n)), np.empty(copied // 8), np.ones(copied // 8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    products, vectors = (max(1, min(MOST, int(2e9 / work))) for work in (2 * n * n * m, 8 * n * n))

    def best(work: Callable[[int], object]) -> float:
        in_threads(work, range(threads))
        return min(seconds(lambda: in_threads(work, range(threads))) for _ in range(3))

    return {
        "gemm": threads * products * 2 * n * n * m / best(lambda _: [a @ b for _ in range(products)]),
        "vector": threads * vectors * 8 * n * n / best(lambda _: [square @ x for _ in range(vectors)]),
        "copy": 2 * copied / best(lambda part: np.copyto(*parts[part])),
    }


def floor(setting: Setting, threads: int, rounds: int, copied: int = COPIED) -> dict[str, Any]:
    """The floor of the spectra of a setting, and what the reduction takes on tokens of that shape, without a model.

    Args:
        setting: the model and its inputs.
        threads: how many.
        rounds: how often the reduction is timed; the median counts.
        copied: bytes that are copied for the bandwidth.

    Returns:
        The counts, the ceilings, the floor's seconds and the measured ones.
    """
    n, m = sorted((setting.tokens, setting.width))
    rates, counts = ceilings(n, m, threads, copied), counted(setting)
    parts = {
        "gram": counts["gram_flops"] / rates["gemm"],
        "tridiagonal": counts["tridiagonal_flops"] / 2 / rates["gemm"] + counts["vector_bytes"] / rates["vector"],
        "passes": counts["pass_bytes"] / rates["copy"],
    }
    torch.set_num_threads(threads)
    tokens = setting.activation()
    spectra(setting, tokens)
    measured = statistics.median(seconds(lambda: spectra(setting, tokens)) for _ in range(rounds))
    return {
        "inputs": setting.words,
        **counts,
        **rates,
        "parts": parts,
        "floor": sum(parts.values()),
        "measured": measured,
    }
