"""First: the first layer at which two models differ, of each measure and of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.comparison.records import First
from rankscope.table import TELLING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rankscope.comparison.records import Basis, Difference

# What the forward pass shows at a layer depends on that layer and those before it; a gradient also on all that follow.
FORWARD = ("block", "value", "attention", "jacobian")
_UNEQUAL = ("differs", "noise", "untested")


def first_of_all(differences: Sequence[Difference], exact: bool) -> First | None:
    """The first layer that differs beyond noise in what the forward pass shows.

    Args:
        differences: of one pair, in the order of the layers.
        exact: whether both were measured under the same conditions, so that equal work gives equal numbers.

    Returns:
        Where every number of the layers before is equal: the first layer with one that is not, since noise over
        sequences cannot make two models part. Else the first with a difference beyond noise. None: there is none.
    """
    layers = _layers(entry for entry in differences if entry.site in FORWARD)
    unequal = next((i for i, layer in enumerate(layers) if any(e.outcome in _UNEQUAL for e in layer)), None)
    if exact and unequal and all(_equal(layer) for layer in layers[:unequal]):
        return _clearest(layers[unequal], "exact")
    beyond = next((layer for layer in layers if any(e.outcome == "differs" for e in layer)), None)
    return None if beyond is None else _clearest(beyond, "noise")


def first_unequal(differences: Sequence[Difference]) -> First | None:
    """The first layer whose numbers are not equal within their numerical error, in what the forward pass shows.

    Args:
        differences: of one pair, in the order of the layers.

    Returns:
        The layer; None where all are equal.
    """
    layers = _layers(entry for entry in differences if entry.site in FORWARD)
    found = next((layer for layer in layers if any(e.outcome in _UNEQUAL for e in layer)), None)
    return None if found is None else _clearest(found, "numbers")


def first_of_each(differences: Sequence[Difference]) -> tuple[First, ...]:
    """The first layer of each measure that differs beyond the noise over sequences.

    Args:
        differences: of one pair, in the order of the layers.

    Returns:
        One for each measure and site that differs somewhere.
    """
    found: dict[tuple[str, str], Difference] = {}
    for entry in differences:
        if entry.outcome == "differs":
            found.setdefault((entry.measure, entry.site), entry)
    return tuple(_as_first(entry, "noise") for entry in sorted(found.values(), key=_telling))


def _layers(differences: Iterable[Difference]) -> list[list[Difference]]:
    """The differences layer by layer."""
    layers: dict[tuple[str, int], list[Difference]] = {}
    for entry in differences:
        layers.setdefault((entry.stack, entry.layer_index), []).append(entry)
    return list(layers.values())


def _equal(layer: list[Difference]) -> bool:
    """Whether some number of a layer is equal, and not only because both are at the noise floor."""
    return any(entry.outcome == "equal" and entry.reason is None for entry in layer)


def _clearest(layer: list[Difference], basis: Basis) -> First:
    """The clearest measure of a layer: beyond noise before within, then the most telling."""
    unequal = [entry for entry in layer if entry.outcome in _UNEQUAL]
    return _as_first(min(unequal, key=lambda entry: (_UNEQUAL.index(entry.outcome), _telling(entry))), basis)


def _telling(entry: Difference) -> int:
    return TELLING.index(entry.measure) if entry.measure in TELLING else len(TELLING)


def _as_first(entry: Difference, basis: Basis) -> First:
    assert entry.reference is not None
    assert entry.other is not None
    return First(
        entry.measure,
        entry.site,
        entry.stack,
        entry.layer_index,
        entry.layer,
        entry.other_layer,
        entry.reference,
        entry.other,
        entry.p,
        basis,
    )
