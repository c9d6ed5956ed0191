"""No gate: a mixer of tokens gives what it mixed, without the gate that multiplies it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.capture.branches import branches
from rankscope.capture.gates import gates
from rankscope.errors import CaptureError
from rankscope.interventions._registry import intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry
from rankscope.interventions._seen import passes, seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankscope.interventions._actions import AtCall


@intervention(formula="W(y · act(z))  ->  W y", paper="λ-skip connections, arXiv 2410.10609")
def no_gate(scene: Scene) -> Iterator[AtCall]:
    """Leave the multiplicative gate of every mixer of tokens out: y · act(z) becomes y, such as Mamba's.

    It is the product, just before the output projection, of what was mixed over tokens with a function of each token
    alone; told by data flow. The gate of an MLP (GLU, SwiGLU) stays. With gates Mamba-2 keeps its tokens apart, without
    gates it collapses (arXiv 2410.10609).

    Args:
        scene: the traced model, and the layers that are meant.

    Yields:
        One action a gate.

    Raises:
        CaptureError: no mixer of these layers has one.
    """
    watched, blocks = seen(scene)
    found = [gate for gate in gates(branches(watched, blocks)) if gate.layer in scene.layers]
    if not found:
        raise CaptureError(
            "RS461",
            "no mixer of tokens in these layers has a multiplicative gate",
            details=[
                ("looked for", "y · act(z) before the output projection: y mixed over tokens, z of each token alone")
            ],
            remedies=[("A gate inside an MLP is none", "to leave MLPs out: no_mlp")],
        )
    for gate in found:
        yield passes(watched, gate.product, gate.kept, gate.layer, "gate")
