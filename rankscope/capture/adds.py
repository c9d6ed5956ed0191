"""Adds: the sums of a traced forward pass as a plan lists them, with where their stack normalises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rankscope.capture.places import Add
from rankscope.capture.skips import statuses
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rankscope.capture.flow import Call, Site
    from rankscope.capture.trace import Trace
    from rankscope.records import Layer

Norm = Literal["pre", "post", "sandwich"]


def adds(trace: Trace, blocks: Mapping[Call, Layer]) -> tuple[Add, ...]:
    """Every sum that may be a residual add, in the order of their running.

    Args:
        trace: a finished trace.
        blocks: the calls that are blocks, and their layers.

    Returns:
        The sums.
    """
    found = dict(reversed(statuses(trace, blocks).items()))
    layers = {site: blocks[block] if block else None for site, (_, block) in found.items()}
    stacks: dict[str, list[Site]] = {}
    for site, (status, _) in found.items():
        if status == "residual" and (layer := layers[site]):
            stacks.setdefault(layer.stack, []).append(site)
    norms = {stack: norm(sites) if _normalises(trace, blocks, stack) else None for stack, sites in stacks.items()}
    return tuple(
        Add(
            layer=(layer := layers[site]),
            module=display_name(site.call.name),
            operation=site.operation,
            kind=site.kind,
            status=status,
            skip=site.skip,
            norm=norms[layer.stack] if layer and status == "residual" else None,
            steps=site.steps,
            hit=site.hit,
            mixed=bool(site.origins & trace.products),
        )
        for site, (status, _) in found.items()
    )


def _normalises(trace: Trace, blocks: Mapping[Call, Layer], stack: str) -> bool:
    """Whether any norm ran from the first block of a stack to its last."""
    calls = [call for call, layer in blocks.items() if layer.stack == stack]
    return any(calls[0].number < time <= calls[-1].last for time in trace.norms)


def norm(sites: Sequence[Site]) -> Norm:
    """Where a stack normalises: on its skips (post), at the end of its branches (sandwich), else before them (pre).

    The majority decides among the adds whose skip carries an earlier add: where a stream begins, at embeddings or after
    a block without a skip, it may be normed, or not.

    Args:
        sites: the residual adds of a stack, in order.

    Returns:
        One of the three.
    """
    later = [site for site in sites if site.carried]
    kinds: list[Norm] = [
        "post" if skip else "sandwich" if branch else "pre" for skip, branch in (s.norms for s in later or sites)
    ]
    return max(kinds, key=kinds.count)
