"""SVFormer: attention of every layer gets the values of the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.interventions._registry import intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry
from rankscope.interventions._values import mixing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rankscope.interventions._actions import Action


@intervention(formula="U_n = A_n V_1, n ≥ 2", paper="SVFormer, arXiv 2410.17897")
def svformer(scene: Scene) -> Iterable[Action]:
    """Give the attention of every later layer the values of the first: U_n = A_n V_1 (arXiv 2410.17897).

    V_1 is that of the first layer of each stack, whatever the selector.

    Args:
        scene: the traced model, and the layers that are meant.

    Returns:
        One action a layer.
    """
    return mixing(scene, lambda first, own: first.to(own.dtype))
