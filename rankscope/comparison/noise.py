"""Noise: is a mean difference between two models more than what the choice of sequences alone would show?

The samples of two models on the same sequences are paired: d_i is the difference at sequence i. Two bootstraps over the
sequences, both with a fixed seed:

- the interval of a mean difference: sequences are drawn with replacement (paired percentile bootstrap, Efron 1979);
- the test: were there no difference, each d_i would be as likely of either sign; the signs are flipped, the same for
  all layers and measures at once (wild bootstrap, Rademacher weights; Wu 1986, Liu 1988), and a difference has to
  exceed the largest of all the tests that are no clearer than it (step-down of Romano and Wolf 2005). That corrects for
  the number of tests without taking them for independent, and is exact for symmetric differences, however few.

Under 8 sequences no difference can reach a chance of 1 %, since the signs alone agree more often.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Matrix = np.ndarray[Any, np.dtype[np.float64]]

LEVEL = 0.01
LEAST = 8  # sequences: 2 of 2**8 patterns of signs are as extreme as that of eight differences of one sign: p = 0.8 %
RESAMPLES = 2000
SEED = 0
_CHUNK = 4_000_000  # numbers that are held at once


def intervals(differences: Matrix) -> tuple[Matrix, Matrix]:
    """The 99 % interval of each mean difference, by bootstrap over the sequences.

    Args:
        differences: (tests, sequences), of sequences that both models saw.

    Returns:
        The lower and the upper ends, (tests,) each.

    Example:
        >>> low, high = intervals(np.array([[1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]))
        >>> bool(1 < low[0] < 2 < high[0] < 3)
        True
    """
    tests, sequences = differences.shape
    drawn = np.random.default_rng(SEED).multinomial(sequences, [1 / sequences] * sequences, size=RESAMPLES) / sequences
    ends = np.empty((2, tests))
    step = max(1, _CHUNK // RESAMPLES)
    for start in range(0, tests, step):
        part = slice(start, start + step)
        ends[:, part] = np.quantile(drawn @ differences[part].T, [LEVEL / 2, 1 - LEVEL / 2], axis=0)
    return ends[0], ends[1]


def chances(differences: Matrix) -> Matrix:
    """The chance of each mean difference, were there none, corrected for all of them.

    Args:
        differences: (tests, sequences); none of the rows is all zeros.

    Returns:
        One number a test, in (0, 1]: the probability that the clearest of the tests no clearer than it shows as much.

    Example:
        >>> sure, unsure = [1.0, 1.1, 0.9, 1.0, 1.0, 1.1, 0.9, 1.0], [1.0, -2.0, 0.5, -3.0, 2.0, -0.2, 4.0, -1.0]
        >>> chances(np.array([sure, unsure])).round(4).tolist()
        [0.0078, 0.875]
    """
    tests, sequences = differences.shape
    # |t| grows with the cosine between the differences and the pattern of signs, which is cheaper.
    unit = differences / np.linalg.norm(differences, axis=1, keepdims=True)
    seen = np.abs(unit.sum(axis=1))
    order = np.argsort(seen, kind="stable")
    unit, seen = unit[order], seen[order]
    signs = _signs(sequences)
    reached = np.zeros(tests)
    step = max(1, _CHUNK // max(tests, 1))
    for start in range(0, len(signs), step):
        flipped = np.abs(signs[start : start + step] @ unit.T)
        largest = np.maximum.accumulate(flipped, axis=1)
        reached += (largest >= seen * (1 - 1e-12)).sum(axis=0)
    alone = reached / len(signs)
    corrected = np.empty(tests)
    corrected[order] = np.maximum.accumulate(alone[::-1])[::-1]  # no test passes before a clearer one
    return corrected


def _signs(sequences: int) -> Matrix:
    """Patterns of signs, that of no flip first: all of them, or as many as there are resamples."""
    if 2 ** (sequences - 1) <= RESAMPLES + 48:  # a pattern and its opposite show the same
        rest = list(itertools.product((1.0, -1.0), repeat=sequences - 1))
        return np.column_stack([np.ones(len(rest)), np.array(rest).reshape(len(rest), -1)])
    drawn = np.random.default_rng(SEED).integers(0, 2, size=(RESAMPLES, sequences)) * 2.0 - 1.0
    drawn[0] = 1.0
    return np.asarray(drawn, dtype=np.float64)


def few(counts: Sequence[int]) -> str:
    """Why differences over so few sequences are not tested.

    Args:
        counts: sequences of the two models.

    Returns:
        The reason.
    """
    if len(set(counts)) > 1:
        return f"{counts[0]} and {counts[1]} sequences: they cannot be paired"
    some = "one sequence" if counts[0] == 1 else f"{counts[0]} sequences"
    return f"{some}: noise can be told from {LEAST} on"
