"""Value residual: attention gets a mix of its own values and those of the first layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.interventions._registry import Number, intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry
from rankscope.interventions._values import mixing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from rankscope.interventions._actions import Action


@intervention(formula="V'_n = λ1 V_1 + λ2 V_n, n ≥ 2;  U_n = A_n V'_n", paper="ResFormer, arXiv 2410.17897")
def value_residual(scene: Scene, *, lam1: Number = 0.5, lam2: Number = 0.5) -> Iterable[Action]:
    """Mix the values of the first layer into those of every later one: V_n becomes λ1 V_1 + λ2 V_n (arXiv 2410.17897).

    V_1 is that of the first layer of each stack, whatever the selector; the layers that are meant get the mix. Where a
    model already mixes its values, V_n is what its attention gets. λ1 = 0, λ2 = 1 leaves the model as it is, bit for
    bit. Identity ResFormer: 0.5, 0.5; constant: 2, 1; sparse: 5, 1 in the last layers.

    Args:
        scene: the traced model, and the layers that are meant.
        lam1: λ1, of the first layer's values; in Python also a tensor of one number, which may be trained.
        lam2: λ2, of the layer's own values, likewise.

    Returns:
        One action a layer.
    """

    def mix(first: Tensor, own: Tensor) -> Tensor | None:
        if isinstance(lam1, int | float) and isinstance(lam2, int | float) and (lam1, lam2) == (0, 1):
            return None
        return lam1 * first + lam2 * own

    return mixing(scene, mix)
