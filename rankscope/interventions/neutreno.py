"""NeuTRENO: what is left of the first layer's values is added to the output of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rankscope.capture.flow import tensors
from rankscope.errors import CaptureError
from rankscope.interventions._actions import AtCall, AtStart, replaced
from rankscope.interventions._registry import Number, intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry
from rankscope.interventions._values import First, keeping, later

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from rankscope.capture.flow import Steps
    from rankscope.capture.places import ValuePlace
    from rankscope.interventions._actions import Action, TorchCall


@intervention(
    formula="U_n = A_n V_n + τ (V_1 − V_n), n ≥ 2",
    paper="Nguyen et al. 2023, arXiv 2312.00751; arXiv 2410.17897",
    neutral=0.0,
)
def neutreno(scene: Scene, *, tau: Number = 0.4) -> Iterator[Action]:
    """Add what the values have lost to the output of attention, before its projection: A_n V_n + τ (V_1 − V_n).

    V_1 is that of the first layer of each stack, whatever the selector. τ = 0 leaves the model as it is, bit for bit.

    Args:
        scene: the traced model, and the layers that are meant.
        tau: τ; in Python also a tensor of one number, which may be trained.

    Yields:
        One action a layer.
    """
    kept: set[int] = set()
    for key, place, first in later(scene, calls_only=True):
        if id(first) not in kept:
            kept.add(id(first))
            yield AtStart(first.held.clear)
            yield keeping(scene, first, called=True)
        yield _added(key, place, first, tau)


def _added(key: tuple[Steps, int], place: ValuePlace, first: First, tau: Number) -> AtCall:
    def after(call: TorchCall, output: Any) -> Any:
        if isinstance(tau, int | float) and tau == 0:
            return output
        own, mixed = call.tensor(place.operand), next(tensors(output))
        lost = _as_output(first.fitting(own, place.layer) - own, mixed, call, place)
        return replaced(output, 0, mixed + tau * lost)

    return AtCall(*key, place.operation, place.layer, "attention call", after=after)


def _as_output(lost: Tensor, mixed: Tensor, call: TorchCall, place: ValuePlace) -> Tensor:
    """Values in the axes of the output of attention: every query head gets those of its key-value head."""
    if call.name == "einsum" and isinstance(call.args[0], str):
        letters = call.args[0].replace(" ", "").replace("->", ",").split(",")
        lost = _reordered(lost, letters)
    elif lost.ndim == mixed.ndim == 4 and lost.shape[1] != mixed.shape[1] and mixed.shape[1] % lost.shape[1] == 0:
        lost = lost.repeat_interleave(mixed.shape[1] // lost.shape[1], dim=1)
    if lost.shape != mixed.shape:
        raise CaptureError(
            "RS468",
            f"the output of attention in {place.layer.name} has other axes than its values: they cannot be added",
            details=[("shapes", f"{list(mixed.shape)} and {list(lost.shape)}")],
            remedies=[("Mix the values themselves", "value_residual=0.4,0.6")],
        )
    return lost


def _reordered(lost: Tensor, letters: list[str]) -> Tensor:
    """The axes of the values as the output of map times values has them; keys stand where its queries do."""
    _, values, output = letters
    keys, queries = (set(a) - set(b) for a, b in ((values, output), (output, values)))
    if len(keys) != 1 or len(queries) != 1:
        return lost
    named = values.replace(keys.pop(), queries.pop())
    return torch.einsum(f"{named}->{output}", lost)
