"""Plan: the places of a model at which later forward passes are measured."""

from __future__ import annotations

import difflib
import fnmatch
from collections import Counter
from typing import TYPE_CHECKING

from rankscope.capture.adds import adds
from rankscope.capture.attention import NO_ATTENTION, attention
from rankscope.capture.blocks import stacks, stream
from rankscope.capture.places import Place, Plan
from rankscope.capture.skips import statuses
from rankscope.capture.wrappers import class_name
from rankscope.errors import CaptureError
from rankscope.records import Layer, Note, display_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rankscope.capture.flow import Call
    from rankscope.capture.trace import Trace

__all__ = ["MODULES", "NO_ATTENTION", "Plan", "plan"]

MODULES = "modules"  # the stack of a model without repeated blocks


def plan(trace: Trace, layers: Sequence[str] = (), skip_layers: Sequence[str] = ()) -> Plan:
    """Choose the places: the stacks of repeated blocks, the modules of the user's globs, or every leaf module.

    Args:
        trace: a finished trace.
        layers: globs over module names; empty for the stacks.
        skip_layers: globs over module names to leave out.

    Returns:
        The plan.

    Raises:
        CaptureError: a glob matches nothing, no matched module ran, or nothing is left.
    """
    notes: list[Note] = []
    skipped: dict[str, str] = {}
    if layers:
        groups = {", ".join(layers): _matching(trace, layers, skipped)}
    else:
        groups = {display_name(pattern): calls for pattern, calls in stacks(trace).items()}
        if not groups:
            groups = {MODULES: _leaves(trace)}
            notes.append(Note("RS420", "no stack of repeated blocks was found: the output of every module is measured"))
    places: list[Place] = []
    blocks: dict[Call, Layer] = {}
    for stack, calls in groups.items():
        kept = [call for call in calls if not _matches(call.name, skip_layers)]
        skipped |= {_label(call, calls): "left out by --skip-layers" for call in calls if call not in kept}
        if kept:
            places += _places(stack, kept, trace, blocks)
    if not places:
        raise CaptureError(
            "RS421",
            "no layer is left to measure",
            details=[("left out", ", ".join(list(skipped)[:5]) or "the model calls no module with a floating output")],
            remedies=[("Choose layers", "--layers GLOB; `rankscope probe MODEL --layers '*'` measures every module")],
        )
    notes += _without_adds(trace, blocks)
    seen = attention(trace, blocks, chosen=bool(layers))
    return Plan(
        places=tuple(places),
        values=seen.values,
        no_values=seen.no_values,
        names=trace.names,
        skipped=skipped,
        notes=tuple(notes),
        attention=seen.attention,
        no_attention=seen.no_attention,
        adds=adds(trace, blocks),
        value_modules=seen.modules,
        calls=Counter(call.name for call in trace.calls),
        hits={key: last + 1 for key, last in trace.hits.items()},
        mixed=trace.mixed,
    )


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def _matching(trace: Trace, globs: Sequence[str], skipped: dict[str, str]) -> list[Call]:
    """The calls of the modules that the globs name; what never ran is noted as skipped."""
    names = [name for name in trace.names.values() if name]
    ran = {call.name for call in trace.calls}
    for glob in globs:
        matched = [name for name in names if fnmatch.fnmatchcase(name, glob)]
        if not matched:
            near = difflib.get_close_matches(glob, names, n=3, cutoff=0.5)
            details = [("did you mean", ", ".join(map(display_name, near)))] if near else _some(names)
            raise CaptureError("RS422", f"--layers {glob!r} matches no module of the model", details=details)
        if not ran.intersection(matched):
            raise CaptureError(
                "RS423",
                f"none of the {len(matched)} modules that --layers {glob!r} names ran",
                details=_some(matched),
                remedies=[("Containers never run", "name what they hold, such as 'layers.*' in place of 'layers'")],
            )
        skipped |= {display_name(name): "it never ran" for name in matched if name not in ran}
    return [call for call in trace.calls if call.name and _matches(call.name, globs) and call.exit]


def _some(names: Sequence[str]) -> list[tuple[str, str]]:
    shown = ", ".join(display_name(name) for name in names[:8])
    return [("modules", shown + (f", … ({len(names)} in all)" if len(names) > 8 else ""))]


def _leaves(trace: Trace) -> list[Call]:
    """Calls of modules that call no others, with a floating output."""
    parents = {call.parent for call in trace.calls}
    return [call for call in trace.calls if call not in parents and call.exit]


def _label(call: Call, calls: Sequence[Call]) -> str:
    """The name of a layer; calls of one module are told apart by their number, counted from 1."""
    several = sum(other.module is call.module for other in calls) > 1
    return display_name(call.name or class_name(call.module)) + (f"#{call.index + 1}" if several else "")


def _places(stack: str, calls: Sequence[Call], trace: Trace, blocks: dict[Call, Layer]) -> list[Place]:
    first = calls[0]
    kind = class_name(first.module)
    entry = Layer(stack, 0, f"{_label(first, calls)}.input", kind)
    places = []
    if first.streams:
        places.append(
            Place(entry, first.module, first.name, first.index, entering=True, stream=stream(first, trace.sums))
        )
    for index, call in enumerate(calls, 1):
        layer = blocks[call] = Layer(stack, index, _label(call, calls), class_name(call.module))
        places.append(Place(layer, call.module, call.name, call.index))
    return places


def _without_adds(trace: Trace, blocks: Mapping[Call, Layer]) -> list[Note]:
    """A note for each stack of blocks in which no residual add was recognised."""
    found = {
        blocks[block].stack for status, block in statuses(trace, blocks).values() if block and status == "residual"
    }
    bare = dict.fromkeys(layer.stack for layer in blocks.values() if layer.stack not in found | {MODULES})
    return [Note("RS424", f"{stack}: no residual add was recognised in its blocks") for stack in bare]
