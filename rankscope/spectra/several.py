"""Spectra of many matrices of any shapes: on a CPU one a thread, the largest first; on a GPU one size at a time.

They are meant for gradients of weights, some of which are had as the factors of a product that is never formed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rankscope.errors import CaptureError
from rankscope.records import Spectrum
from rankscope.spectra import cpu, products
from rankscope.spectra.engine import CHUNK_BYTES, coarse, eigenvalues, gram, roots, spectrum
from rankscope.spectra.reference import EPS, SOLVER_FAILED, svd

if TYPE_CHECKING:
    from torch import Tensor

    from rankscope.spectra.engine import Method

Matrix = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
"""A matrix (rows, width), or the factors (T, rows) and (T, width) of the product leftᵀ right."""
Found = Spectrum | str | None
"""A spectrum, the reason why there is none, or None of a matrix that is not finite."""
MOST_NUMBERS = 2**31 - 1  # in one call of a GPU's solver
SMALL = 64
"""The Gram of a smaller matrix resolves too little above the threshold of the numerical rank; its SVD costs little."""


@dataclass(slots=True)
class _Squares:
    """A matrix whose eigenvalues are σ², and how far off its entries put them, beside the solver; None for a Gram."""

    matrix: Tensor
    off: Tensor | None
    rows: int
    width: int


def spectra(matrices: list[Matrix], method: Method = "auto", most: int = CHUNK_BYTES) -> list[Found]:
    """Singular values of each matrix, with bounds on their errors.

    Args:
        matrices: of any shapes; the list is emptied, so that each can go as soon as it is not needed any more.
        method: see `spectrum`.
        most: bytes of work at a time, where one matrix does not need more.

    Returns:
        Of each its spectrum, the reason why there is none, or None where it is not finite.

    Example:
        >>> found = spectra([torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([[torch.nan]])])
        >>> found[0].singular_values.tolist(), found[1]
        ([4.0, 3.0], None)
    """
    waiting: dict[int, Matrix] = dict(enumerate(matrices))
    matrices.clear()
    order = sorted(waiting, key=lambda index: -work(waiting[index]))
    found: dict[int, Found] = {}
    if on_device := [index for index in order if _device(waiting[index]) == "cuda"]:
        found |= _together(waiting, on_device, method, most)
    rest = [index for index in order if index not in found]
    at_once = max(1, most // max(1, work(waiting[rest[0]]))) if rest else 1
    solved = cpu.in_threads(lambda index: _one(waiting.pop(index), method), rest, at_once)
    found |= dict(zip(rest, solved, strict=True))
    return [found[index] for index in range(len(found))]


def _one(matrix: Matrix, method: Method) -> Found:
    try:
        return _solved(matrix, method)
    except CaptureError as error:
        return error.headline
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _solved(matrix: Matrix, method: Method) -> Spectrum | None:
    if not _finite(matrix):
        return None
    if _by_itself(matrix, method):
        return spectrum(_dense(matrix), method=method, source_dtype=dtype_of(matrix))
    for way in (_of_factors, _gram) if isinstance(matrix, tuple) else (_gram,):
        try:
            squares = way(matrix)
            found = None if squares is None else _roots(squares, eigenvalues(squares.matrix.unsqueeze(0))[0])
        except SOLVER_FAILED:
            continue
        if found is not None:
            return found
    sigma, error = svd(_dense(matrix).double().unsqueeze(0))
    return Spectrum(sigma[0], error[0], *shape_of(matrix))


def _together(waiting: dict[int, Matrix], indices: list[int], method: Method, most: int) -> dict[int, Found]:
    """Those on a GPU: one call of the solver for all of one size; what that does not solve is left to the others."""
    found: dict[int, Found] = {}
    sizes: dict[int, list[int]] = defaultdict(list)
    for index in indices:
        if not _by_itself(waiting[index], method):
            sizes[_order(waiting[index])].append(index)
    for n, alike in sizes.items():
        whole = max(1, min(most // 16, MOST_NUMBERS) // max(1, n * n))
        for start in range(0, len(alike), whole):
            found |= _stacked(waiting, alike[start : start + whole])
    return found


def _stacked(waiting: dict[int, Matrix], indices: list[int]) -> dict[int, Found]:
    found: dict[int, Found] = {}
    made = {i: (_of_factors if isinstance(waiting[i], tuple) else _gram)(waiting[i]) for i in indices}
    ready = {index: each for index, each in made.items() if each is not None and _finite(each.matrix)}
    try:
        values = eigenvalues(torch.stack([each.matrix for each in ready.values()]))
    except (RuntimeError, *SOLVER_FAILED):  # out of memory is one, and an empty list
        return found
    for (index, each), lam in zip(ready.items(), values, strict=True):
        if (spectrum_ := _roots(each, lam)) is not None:
            found[index] = spectrum_
            del waiting[index]
    return found


def _of_factors(matrix: Matrix) -> _Squares | None:
    assert isinstance(matrix, tuple)
    made = products.squares(*(factor.double() for factor in matrix)) if len(matrix[0]) else None
    return None if made is None else _Squares(*made, *shape_of(matrix))


def _gram(matrix: Matrix) -> _Squares:
    dense = _dense(matrix).double()
    return _Squares(gram(dense), None, *shape_of(matrix))


def _roots(squares: _Squares, lam: Tensor) -> Spectrum | None:
    """The spectrum of the eigenvalues; None where they leave too much doubt."""
    rows, width, n = squares.rows, squares.width, len(lam)
    longer = max(rows, width)
    delta = None if squares.off is None else (squares.off + (16 + n / 16) * EPS * lam[0]).reshape(1)
    sigma, error = roots(lam, longer, delta)
    if bool(coarse(sigma, error, longer)):
        return None
    rest = sigma.new_zeros(min(rows, width) - n)  # of factors of n rows: the rank is no more
    return Spectrum(torch.cat([sigma, rest]), torch.cat([error, rest]), rows, width)


def _by_itself(matrix: Matrix, method: Method) -> bool:
    """Whether `spectrum` is the way."""
    return method == "svd" or dtype_of(matrix) == torch.float64 or min(shape_of(matrix)) < SMALL


def _dense(matrix: Matrix) -> Tensor:
    return matrix if isinstance(matrix, torch.Tensor) else matrix[0].double().mT @ matrix[1].double()


def shape_of(matrix: Matrix) -> tuple[int, int]:
    """Rows and width.

    Args:
        matrix: formed or as factors.

    Returns:
        Both.

    Example:
        >>> shape_of((torch.zeros(2, 5), torch.zeros(2, 3)))
        (5, 3)
    """
    if isinstance(matrix, tuple):
        return matrix[0].shape[1], matrix[1].shape[1]
    return matrix.shape[0], matrix.shape[1]


def dtype_of(matrix: Matrix) -> torch.dtype:
    """The dtype of the numbers that it is made of.

    Args:
        matrix: formed or as factors.

    Returns:
        The dtype.
    """
    return matrix.dtype if isinstance(matrix, torch.Tensor) else matrix[0].dtype


def _device(matrix: Matrix) -> str:
    return (matrix if isinstance(matrix, torch.Tensor) else matrix[0]).device.type


def _finite(matrix: Matrix) -> bool:
    tensors = matrix if isinstance(matrix, tuple) else (matrix,)
    return all(bool(torch.isfinite(each.sum())) or bool(torch.isfinite(each).all()) for each in tensors)


def _order(matrix: Matrix) -> int:
    """The order of the matrix whose eigenvalues are wanted."""
    return len(matrix[0]) if isinstance(matrix, tuple) else min(matrix.shape)


def work(matrix: Matrix) -> int:
    """The memory that its spectrum takes while it is found.

    Args:
        matrix: formed or as factors.

    Returns:
        Bytes.

    Example:
        >>> work(torch.zeros(10, 5)), work((torch.zeros(1, 10), torch.zeros(1, 5)))
        (1000, 160)
    """
    (rows, width), n = shape_of(matrix), _order(matrix)
    return 8 * (n * (rows + width) + 5 * n * n if isinstance(matrix, tuple) else rows * width + 3 * n * n)
