"""Moments the fast way: one Gram matrix a sequence serves several forms.

The unit form scales its rows and columns, centring takes their means off. On a GPU the stack is one tensor, nothing is
waited for, and the Grams are solved together with those of the other layers. Small Grams wait on a CPU too, and the
threads that make them are those of the model: after each of its products these stay awake for milliseconds, in case of
another, and would take half a core from workers of our own. Where solving takes longer than that, a sequence is worked
on by one worker from the cast to the eigenvalues, while it lies in the cache.
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import torch

from rankscope.errors import CaptureError
from rankscope.groups import with_float64
from rankscope.moments.exact import exact
from rankscope.moments.found import Moments, joined
from rankscope.moments.stack import Stack
from rankscope.spectra import cpu
from rankscope.spectra.engine import CHUNK_BYTES, coarse, eigenvalues, roots
from rankscope.spectra.reference import EPS, SOLVER_FAILED, svd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from rankscope.measures import Form
    from rankscope.moments.found import Need
    from rankscope.spectra.engine import Method


SHORT = 256
"""The largest order of a Gram matrix that waits on a CPU."""
SURE = 64
"""With so many rows or columns a Gram leaves no numerical rank in doubt: the tokens can go before it is solved."""
MOST_NUMBERS = 2**31 - 1  # in one call of a GPU's solver
UNSOLVED = "the eigenvalues of a finite matrix could not be computed"


def moments(tokens: Tensor, wanted: Iterable[Need], method: Method = "auto", at_once: int | None = None) -> Moments:
    """What measures need of sequences of equal length.

    Unit forms leave zero tokens out, as if they were not there: of their spectra, the values past `count` are 0.

    Args:
        tokens: (batch, rows, width), of a floating dtype.
        wanted: forms and needs.
        method: see `spectra.spectrum`; on a GPU, where nothing is looked at, ``auto`` is ``gram64``.
        at_once: the most sequences to work on at a time on a CPU; as many as there are threads where None.

    Returns:
        The moments; on a GPU, and of small Grams, its spectra are `waiting`.

    Example:
        >>> found = moments(torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]), [("raw", "size"), ("unit", "spectrum")]).found
        >>> found["raw", "size"].tolist(), found["unit", "spectrum"][0, 0].tolist()
        ([5.0], [1.0, 1.0])
    """
    wanted = sorted(wanted, key=lambda pair: pair[1] != "spectrum")  # their Grams serve the others
    tokens = with_float64(tokens)
    if method == "svd" or tokens.dtype == torch.float64:  # no room for squares, or not wanted
        if tokens.is_cuda:
            return joined([exact(each, wanted, method) for each in tokens])
        return joined(cpu.in_threads(lambda each: exact(each, wanted, method), list(tokens), at_once))
    if tokens.is_cuda:
        return stacked(tokens, wanted)
    _, rows, width = tokens.shape
    if min(rows, width) <= SHORT and max(rows, width) >= SURE:
        return _on_shared_threads(tokens, wanted, at_once)
    return _in_parts(tokens, wanted, at_once, refine=method == "auto")


def stacked(tokens: Tensor, wanted: Iterable[Need]) -> Moments:
    """The way of a GPU: all sequences as one tensor, of which no number is looked at; it holds on any device.

    Args:
        tokens: (batch, rows, width), of a floating dtype.
        wanted: forms and needs, spectra first.

    Returns:
        The moments, their spectra `waiting`.

    Example:
        >>> found = stacked(torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]), [("unit", "spectrum")])
        >>> found.waiting["unit"].tolist()
        [[[1.0, 0.0], [0.0, 1.0]]]
    """
    return _moments(Stack(tokens, ahead=True), wanted)


def _in_parts(tokens: Tensor, wanted: Iterable[Need], at_once: int | None, *, refine: bool) -> Moments:
    """On a CPU: a few sequences by one thread at a time, solved while they lie in the cache."""
    _, rows, width = tokens.shape
    parts = cpu.slices(len(tokens), 8 * rows * width, at_once)
    some = partial(_some, wanted=wanted, done=partial(_solve_at_once, refine=refine))
    return joined(cpu.in_threads(some, [tokens[part] for part in parts], at_once))


def _on_shared_threads(tokens: Tensor, wanted: Iterable[Need], at_once: int | None) -> Moments:
    """On a CPU, where Grams are small: all but the eigenvalues by torch's own threads; these wait."""
    count, rows, width = tokens.shape
    parts = torch.split(tokens, cpu.together(count, 8 * rows * width, at_once))
    return joined([_some(part, wanted, done=lambda *_: True) for part in parts])


def _some(part: Tensor, wanted: Iterable[Need], done: Callable[[Stack, Moments], bool]) -> Moments:
    """Where one of several has zero tokens or is not done, each alone: no number depends on other sequences."""
    stack = Stack(part, ahead=False)
    if len(part) == 1 or stack.plain:
        found = _moments(stack, wanted)
        if done(stack, found):
            return found
    return joined([_some(each, wanted, done) for each in torch.split(part, 1)])


def solve(several: Sequence[Moments], most: int = CHUNK_BYTES) -> None:
    """Solve all Grams that wait, those of one size together.

    A chunk that the device cannot solve, or whose eigenvalues do not add up, is solved one matrix at a time on the
    CPU; what cannot be solved there either becomes part of `failed`, and its numbers are NaN.

    Args:
        several: moments, whose `waiting` becomes part of `found`.
        most: bytes of Grams in one call.
    """
    alike: dict[tuple[int, int], list[tuple[Moments, Form]]] = defaultdict(list)
    for each in several:
        for form, gram in each.waiting.items():
            alike[gram.shape[-1], max(each.rows, each.width)].append((each, form))
    for (n, longer), entries in alike.items():
        grams = [each.waiting.pop(form) for each, form in entries]
        sizes = [len(gram) for gram in grams]
        each_alone = [matrix for gram in grams for matrix in gram]
        whole = max(1, min(most // 8, MOST_NUMBERS) // max(1, n * n))
        chunks = [each_alone[start : start + whole] for start in range(0, len(each_alone), whole)]
        owners = [entry for entry, size in zip(entries, sizes, strict=True) for _ in range(size)]
        pairs, unsolved = zip(*[_solved(chunk, longer) for chunk in chunks], strict=True)
        for (each, form), failed in zip(owners, chain(*unsolved), strict=True):
            if failed:
                each.failed[form, "spectrum"] = UNSOLVED
        for (each, form), pair in zip(entries, torch.split(torch.cat(pairs), sizes), strict=True):
            each.found[form, "spectrum"] = pair


def _solved(grams: Sequence[Tensor], longer: int) -> tuple[Tensor, list[bool]]:
    """Singular values and bounds on their errors, (batch, 2, n), and which could not be had, whose numbers are NaN."""
    try:
        return _spectra(torch.stack(list(grams)), longer), [False] * len(grams)
    except (RuntimeError, *SOLVER_FAILED):  # out of memory is one
        pairs = [_solved_alone(gram.cpu(), longer) for gram in grams]
    none = grams[0].new_full((2, len(grams[0])), torch.nan)
    return torch.stack([none if pair is None else pair.to(none.device) for pair in pairs]), [p is None for p in pairs]


def _solved_alone(gram: Tensor, longer: int) -> Tensor | None:
    alone = gram.unsqueeze(0)
    try:
        return _spectra(alone, longer)[0]
    except SOLVER_FAILED:
        pass
    try:
        lam, off = svd(alone)  # of a positive matrix, the eigenvalues
    except CaptureError:
        return None
    delta = off[:, :1] + 2 * math.sqrt(longer) * EPS * lam[:, :1]
    return torch.stack(roots(lam, longer, delta), 1)[0]


def _moments(stack: Stack, wanted: Iterable[Need]) -> Moments:
    rows, width = stack.tokens.shape[1:]
    found = Moments(rows, width, stack.finite, stack.norms, stack.count, stack.common)
    for form, need in wanted:
        if need == "spectrum":
            found.waiting[form] = stack.gram(form)
        else:
            found.found[form, need] = stack.find(form, need)
    return found


def _solve_at_once(stack: Stack, found: Moments, *, refine: bool) -> bool:
    """Solve Grams while their tokens are at hand, by SVD where in doubt; false where one of several could not be."""
    longer, alone = max(found.rows, found.width), len(stack.tokens) == 1
    for form, gram in found.waiting.items():
        try:
            pair = _spectra(gram, longer)
            unsure = coarse(pair[:, 0], pair[:, 1], longer) & refine
        except SOLVER_FAILED:
            if not alone:
                return False
            pair, unsure = gram.new_full((1, 2, gram.shape[-1]), torch.nan), torch.tensor([True])
        try:
            if bool(unsure.any()):
                pair[unsure] = torch.stack(svd(stack.formed(form)[unsure]), 1)
        except CaptureError as error:
            if not alone:
                return False
            found.failed[form, "spectrum"] = error.headline
        found.found[form, "spectrum"] = pair
    found.waiting = {}
    return True


def _spectra(grams: Tensor, longer: int) -> Tensor:
    """Singular values and bounds on their errors, (batch, 2, n)."""
    return torch.stack(roots(eigenvalues(grams), longer), 1)
