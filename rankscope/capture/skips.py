"""Residual adds: which sums of a traced forward pass join a skip with its branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from rankscope.capture.flow import BRANCH_KEYWORDS, EITHER, FUSED, SUMS, Call, Flow, Site, tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from torch import Tensor

    from rankscope.capture.trace import Trace

Status = Literal["residual", "internal", "outside"]


def candidate(
    site: Site, args: tuple[Any, ...], kwargs: Mapping[str, Any], flow: Callable[[Tensor], Flow]
) -> Flow | None:
    """Whether a sum may be a residual add.

    It may when an origin near one operand (the skip) is deep in the other (the branch), or, for a projected shortcut,
    exactly one learned map away from the one and more from the other; the skip is as large as the sum.

    Args:
        site: the sum; its `kind`, `skip` and all that is known of the skip are filled in.
        args: the positional arguments of the call.
        kwargs: its keyword arguments.
        flow: the books of a tensor.

    Returns:
        What the branch was made of, or None.
    """
    first = next(tensors(args[0] if args else kwargs.get("input")), None)
    positions = [args[k] for k in SUMS[site.operation] if k < len(args)]
    rest = list(tensors(positions + [kwargs[k] for k in BRANCH_KEYWORDS if k in kwargs]))
    if first is None or not rest:
        return None
    fused = site.operation in FUSED
    a, b = Flow(), Flow()
    a.add(flow(first))
    for tensor in rest:
        b.add(flow(tensor))
    if fused:  # the product runs inside the sum
        b.near, b.deep = 0, b.every
    fits = first.numel() >= rest[0].numel() or fused or "index" in site.operation
    fits_swapped = site.operation in EITHER and rest[0].numel() >= first.numel()
    found = [a.near & b.deep if fits else 0, b.near & a.deep if fits_swapped else 0]
    if not any(found):
        site.kind = "projection"
        fits = fits and fits_swapped
        found = [x.once & ~x.twice & y.twice if fits else 0 for x, y in ((a, b), (b, a))]
        if all(found):
            return None
    if not any(found):
        return None
    site.skip = 0 if found[0] else 1
    site.origins = found[site.skip]
    skip, branch = (a, b) if found[0] else (b, a)
    site.carried, site.norms = skip.sums, (skip.normed, branch.normed)
    site.gain = skip.scaled if skip.gained else None
    site.shape = tuple((first if found[0] else rest[0]).shape)
    return branch


def statuses(trace: Trace, blocks: Container[Call]) -> dict[Site, tuple[Status, Call | None]]:
    """Status and layer of each sum of a trace.

    A sum is `residual` when by views and pointwise operations it reaches the first floating tensor that its block, or
    the model, returns, or the skip of a later residual add; else `internal`; `outside` when it runs outside every
    block and its branch was not made by one.

    Args:
        trace: the trace.
        blocks: the calls that are blocks.

    Returns:
        For each sum its status, and the block call that made its branch, else the one in which the sum runs.
    """
    good, found = 0, {}
    for site in reversed(trace.sums):
        runs = site.call.inside(blocks)
        made = site.origin_call.inside(blocks) if site.origin_call else None
        if site.kind == "projection":
            keep = bool(runs and site.origins & runs.stream and runs.sums & site.bit)
        elif runs:
            keep = bool((runs.sums | trace.calls[0].sums | good) & site.bit)
        else:
            keep = made is not None
        status: Status = "residual" if keep else "internal" if runs else "outside"
        good |= site.carried if keep else 0
        found[site] = (status, made or runs)
    return found
