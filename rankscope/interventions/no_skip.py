"""No skip: every residual add gives its branch alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rankscope.interventions._actions import on_skip
from rankscope.interventions._registry import intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankscope.interventions._actions import AtCall


@intervention(formula="x + f(x)  ->  f(x)", paper="Dong, Cordonnier and Loukas 2021, arXiv 2103.03404")
def no_skip(scene: Scene) -> Iterator[AtCall]:
    """Leave every skip out: x + f(x) becomes f(x); a skip that is NaN leaves no NaN behind.

    The skip is replaced by zeros, so that no gradient flows through it either. Without skips attention draws all tokens
    together, doubly exponentially in depth (arXiv 2103.03404).

    Args:
        scene: the traced model, and the layers that are meant.

    Yields:
        One action a residual add.
    """
    for add in scene.adds:
        yield on_skip(add, torch.zeros_like)
