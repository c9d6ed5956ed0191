"""Blocks: the stacks of repeated blocks of a traced forward pass.

Calls are grouped by module name with the digits starred; one module may be called many times. A group is a stack when
its calls form a chain, each reading what the one before gave, and when its classes hold residual adds (or, where none
are found, occur twice).
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING

from rankscope.capture.flow import union

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.capture.flow import Call, Site
    from rankscope.capture.trace import Trace

NUMBERED = re.compile(r"([A-Za-z_]*[A-Za-z_])?\d+")

Group = list["Call"]


def stacks(trace: Trace) -> dict[str, Group]:
    """The stacks of repeated blocks.

    The outermost groups are the stacks. A stack gives way to a group inside it that holds the same residual adds and
    is of one class within each element (Swin: stage gives way to block). Groups without adds that run between the
    blocks of a stack are dropped (patch embeddings, norms); others stay and are reported apart.

    Args:
        trace: a finished trace.

    Returns:
        Name pattern, such as ``"encoder.layers.*"``, to the calls of its blocks; both in the order of their running.
    """
    found = {
        pattern: group for pattern, calls in _named_alike(trace.calls).items() if (group := _chain(calls, trace.sums))
    }
    chosen: list[str] = []
    for pattern in sorted(found, key=lambda name: name.count(".")):
        around = next((p for p in chosen if all(c.parent and c.parent.inside(found[p]) for c in found[pattern])), None)
        if around is None:
            chosen.append(pattern)
        elif _gives_way(found[around], found[pattern], trace.sums):
            chosen[chosen.index(around)] = pattern
    with_adds = [p for p in chosen if held(found[p], trace.sums)]
    kept = [p for p in chosen if p in with_adds or all(_apart(found[p], found[q]) for q in with_adds)]
    return {pattern: found[pattern] for pattern in sorted(kept, key=lambda name: found[name][0].number)}


def held(group: Sequence[Call], sums: Sequence[Site]) -> set[Site]:
    """The sums that reach the output of the block in which they run.

    Args:
        group: the calls of the blocks.
        sums: the sums that may be residual adds.

    Returns:
        Those of them that do.
    """
    return {site for site in sums if (call := site.call.inside(group)) and call.sums & site.bit}


def stream(call: Call, sums: Sequence[Site]) -> int:
    """Which floating input of a block is the residual stream: the first that is a skip of its adds, else the first.

    Args:
        call: the call of a block.
        sums: the sums that may be residual adds.

    Returns:
        The number of the input.
    """
    skips = _skips(call, sums)
    return next((number for number, near in enumerate(call.streams) if near & skips), 0)


def streams(call: Call, sums: Sequence[Site]) -> int:
    """The origins near the inputs of a block that are skips of its adds, else near its first input that has any.

    Args:
        call: the call of a block.
        sums: the sums that may be residual adds.

    Returns:
        Bit set of origins.
    """
    skips = _skips(call, sums)
    return union(near for near in call.streams if near & skips) or call.stream


def _skips(call: Call, sums: Sequence[Site]) -> int:
    return union(site.origins for site in sums if site.call.inside([call]) and call.sums & site.bit)


def _named_alike(calls: Sequence[Call]) -> dict[str, Group]:
    """Calls of modules of one's own making, numbered or called several times, by name with the digits starred."""
    times = Counter(call.module for call in calls)
    groups: dict[str, Group] = {}
    for call in calls:
        composed = next(call.module.children(), None) is not None
        own = composed or not type(call.module).__module__.startswith("torch.nn")
        if own and call.exit and (_numbered(call) or times[call.module] > 1):
            groups.setdefault(re.sub(r"\d+", "*", call.name), []).append(call)
    return groups


def _numbered(call: Call) -> bool:
    return NUMBERED.fullmatch(call.name.rpartition(".")[2]) is not None


def _chain(calls: Group, sums: Sequence[Site]) -> Group | None:
    """The calls of the classes that make up a stack, or None where most do not read what the one before gave."""
    kinds = Counter(type(call.module) for call in calls)
    adds = [site for site in held(calls, sums) if _numbered(calls[0]) or site.kind == "identity"]
    holders = {type(call.module) for site in adds if (call := site.call.inside(calls))}
    if not holders and not (_numbered(calls[0]) and len({call.module for call in calls}) > 1):
        return None  # an activation or a norm that is called often, or the cell of a loop over tokens
    if not holders and not any(call.exit >> call.born for call in calls):
        return None  # norms or activations in a list: they mix nothing
    keep = holders or {kind for kind, count in kinds.items() if count > 1}
    group = [c for c in calls if type(c.module) in keep and not (c.parent and c.parent.inside(calls))]
    links = sum(bool(after.entry & before.exit) for before, after in itertools.pairwise(group))
    return group if 2 * links > len(group) - 1 > 0 else None


def _gives_way(outer: Group, inner: Group, sums: Sequence[Site]) -> bool:
    adds = held(outer, sums)
    one_class = all(len({type(c.module) for c in inner if c.inside([element])}) < 2 for element in outer)
    return bool(adds) and adds <= held(inner, sums) and one_class


def _apart(a: Group, b: Group) -> bool:
    return b[0].number >= a[-1].last or a[0].number >= b[-1].last
