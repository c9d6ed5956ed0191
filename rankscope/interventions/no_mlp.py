"""No MLP: the branches that work on each token alone add nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.interventions._registry import intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry
from rankscope.interventions._seen import without

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rankscope.interventions._actions import AtCall


@intervention(formula="x + mlp(x)  ->  x", paper="Dong, Cordonnier and Loukas 2021, arXiv 2103.03404")
def no_mlp(scene: Scene) -> Iterable[AtCall]:
    """Leave every MLP out: x + mlp(x) becomes x.

    An MLP is what a block adds to its stream from each token alone; it is told by data flow, not by names. Experts are
    one. Beside attention, a branch that takes in the tokens around by a convolution counts as an MLP too. MLPs slow the
    collapse of tokens down (arXiv 2103.03404, §3).

    Args:
        scene: the traced model, and the layers that are meant.

    Returns:
        One action an MLP.
    """
    return without(scene, mixes=False, what="MLP")
