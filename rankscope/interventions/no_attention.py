"""No attention: the branches that mix tokens add nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.interventions._registry import intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry
from rankscope.interventions._seen import without

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rankscope.interventions._actions import AtCall


@intervention(formula="x + attention(x)  ->  x")
def no_attention(scene: Scene) -> Iterable[AtCall]:
    """Leave every mixer of tokens out: x + attention(x) becomes x; self-attention, cross-attention, scans and the like.

    It is told by data flow, not by names: the branches of a block that hold an attention call, a scan or a loop over
    tokens; where a block holds none, those with a convolution or a pooling over tokens.

    Args:
        scene: the traced model, and the layers that are meant.

    Returns:
        One action a mixer.
    """
    return without(scene, mixes=True, what="mixer")
