"""λ-skip connections: the skip of every residual add times λ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.interventions._actions import on_skip
from rankscope.interventions._factors import factors
from rankscope.interventions._registry import Numbers, intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from rankscope.interventions._actions import AtCall, Rewrite
    from rankscope.interventions._registry import Number


@intervention(formula="x + f(x)  ->  λ x + f(x)", paper="λ-skip connections, arXiv 2410.10609", neutral=1.0)
def lambda_skip(scene: Scene, *, lam: Numbers) -> Iterator[AtCall]:
    """Multiply every skip by λ: x + f(x) becomes λ x + f(x), before the norm where a norm follows (arXiv 2410.10609).

    λ = 1 leaves the model as it is, bit for bit. λ = 0 multiplies by zero: a NaN or an infinity of the skip stays one;
    `no_skip` leaves none behind.

    Args:
        scene: the traced model, and the layers that are meant.
        lam: λ: one number for all blocks, or one a block; in Python also a tensor of one or of as many, which may be
            trained.

    Yields:
        One action a residual add.
    """
    by_layer = factors(scene, "lam", lam)
    for add in scene.adds:
        yield on_skip(add, _times(by_layer[add.layer]))


def _times(number: Callable[[], Number]) -> Rewrite:
    """Multiplication; by the number 1, none."""

    def rewrite(skip: Tensor) -> Tensor | None:
        factor = number()
        return None if isinstance(factor, int | float) and factor == 1 else skip * factor

    return rewrite
