"""Projections: the values of a block in which no attention call tells them.

Names are used here, and nowhere else: there is nothing else to go by. They are those of projections, never of models.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rankscope.capture.orders import axes_fit
from rankscope.capture.places import Place, ValuePlace
from rankscope.records import display_name

if TYPE_CHECKING:
    from rankscope.capture.flow import Call, Steps
    from rankscope.capture.trace import Trace
    from rankscope.records import Layer

PROJECTIONS = {"v_proj", "value", "value_proj", "to_v", "v_lin", "wv", "v"}
FEED_FORWARD = re.compile(r"(^|_)(ff|ffn|mlp|feed_?forward|channel_?mix(er|ing)?|cmix|experts?|moe)($|_|\d)")
FUSED = re.compile(
    r"qkv.*|.*_qkv|c_attn|query_key_value|in_proj.*"
)  # several things in one: which part is V is not told
SSM_INPUT = "x_proj"  # Mamba: its input is what enters the state-space model

Found = tuple[tuple["Steps", int], ValuePlace, Place | None]


def values_without_attention(trace: Trace, block: Call, layer: Layer, since: int | None = None) -> Found | None:
    """Where the values of a block are that no attention call tells.

    In this order: the output of the one module named as a value projection, outside the feed-forward; the input of
    `x_proj` (Mamba-1); x in the one sum y + D·x with a parameter D that is no residual add (Mamba-2).

    Args:
        trace: a finished trace.
        block: the call of the block.
        layer: its layer.
        since: the number of the first call that belongs to the layer, where its modules run before its block; None
            where they run inside it.

    Returns:
        The key of the plan, the place, and the module to hook, if any; None where there are no such values.
    """
    ran = trace.calls[block.number + 1 if since is None else since : block.last]
    inside = [call for call in ran if call.exit and (since is not None or call.inside([block]))]
    projections = [call for call in inside if _last(call) in PROJECTIONS and not _feeds_forward(call, block)]
    if len(projections) == 1:
        return _module(projections[0], layer, block, entering=False)
    entries = [call for call in inside if _last(call) == SSM_INPUT]
    if len(entries) == 1:
        return _module(entries[0], layer, block, entering=True)
    gains = [s for s in trace.sums if s.gain and not block.sums & s.bit and s.call.inside([block])]
    if len(gains) == 1 and (gain := gains[0].gain):
        order = (0, 2, 1, 3) if len(gains[0].shape) == 4 else None
        return (gain.steps, gain.hit), ValuePlace(layer, None, "skip of y + D·x", gain.operand, order), None
    return None


def fused(trace: Trace, block: Call) -> str:
    """What to add to the reason why a block without attention call has no values.

    Args:
        trace: a finished trace.
        block: the call of the block.

    Returns:
        Text that names the kernel that hides them, or the projection which gives them together with others; empty where
        there is neither.
    """
    kernel = next((name for call, name in trace.kernels if call.inside([block])), None)
    if kernel is not None:
        return f"; {display_name(kernel)} is a kernel that cannot be looked into"
    inside = (call for call in trace.calls[block.number + 1 : block.last] if call.inside([block]))
    found = next((call for call in inside if FUSED.fullmatch(_last(call))), None)
    return f"; {display_name(_last(found))} gives its values together with others" if found else ""


def _module(call: Call, layer: Layer, block: Call, *, entering: bool) -> Found | None:
    if not entering and not axes_fit(call.shape, block.shape):
        return None
    relative = call.name.removeprefix(f"{block.name}.")
    how = f"{'input' if entering else 'output'} of {_last(call) if entering else display_name(relative)}"
    order = (1, 0, 2) if not entering and _tokens_first(call, block) else None
    place = Place(layer, call.module, call.name, call.index, entering=entering)
    return ((call.name,), call.index), ValuePlace(layer, None, how, 0, order), place


def _tokens_first(call: Call, block: Call) -> bool:
    """Whether a projection gives (tokens, batch, width) inside a block that gives (batch, tokens, width)."""
    shape = call.shape
    return len(shape) == len(block.shape) == 3 and shape[:2] == block.shape[1::-1] and shape[0] != shape[1]


def _last(call: Call) -> str:
    return call.name.rpartition(".")[2]


def _feeds_forward(call: Call, block: Call) -> bool:
    parts = [_last(block), *call.name.removeprefix(f"{block.name}.").split(".")[:-1]]
    return any(FEED_FORWARD.search(part.lower()) for part in parts)
